"""How busy the processor is, at which frequency, and how hot.

Usage is the difference between two looks at the same counters, so there is one reader of them in a process and not
one for each who watches (psutil issue 1703).
"""

from pathlib import Path
from typing import Any

import psutil

from libs.contract.monitoring import Cpu
from services.monitor_agent.readings.rates import percent

HWMON = Path("/sys/class/hwmon")
# Drivers whose sensors lie in the processor. Others are not read: to ask a sleeping disk for its temperature wakes it.
CPU_CHIPS = {"coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "via_cputemp", "scpi_sensors"}
# Labels of the sensor of a whole processor, beside those of its cores.
WHOLE = ("Package id", "Tdie", "Tctl")


class CpuReading:
    """Made once; made, it has taken its first look."""

    def __init__(self, *, hwmon: Path = HWMON) -> None:
        self._hwmon = hwmon
        self._before = psutil.cpu_times(percpu=True)
        self._frequency: float | None = None
        self._temperature: float | None = None

    def look_slowly(self) -> None:
        """What changes slowly or costs more: frequency and temperature."""
        self._frequency = _frequency()
        self._temperature = temperature(self._hwmon)

    def read(self) -> Cpu:
        """The usage since the read before."""
        now = psutil.cpu_times(percpu=True)
        # Cores can be switched on and off meanwhile; then there is nothing to compare until the next time.
        pairs = list(zip(self._before, now, strict=True)) if len(self._before) == len(now) else []
        self._before = now
        spent = [_spent(before, after) for before, after in pairs]
        return Cpu(
            usage=percent(sum(busy for busy, _ in spent), sum(whole for _, whole in spent)),
            cores=len(now),
            per_core=[percent(busy, whole) for busy, whole in spent],
            frequency_mhz=self._frequency,
            temperature=self._temperature,
        )


def _spent(before: Any, after: Any) -> tuple[float, float]:
    """Seconds in which one core worked, and seconds in all. The fields differ between operating systems."""
    changes = {name: max(0.0, getattr(after, name) - getattr(before, name)) for name in after._fields}
    # Linux counts the time of virtual machines in `user` and `nice` already.
    whole = sum(changes.values()) - changes.get("guest", 0.0) - changes.get("guest_nice", 0.0)
    idle = changes["idle"] + changes.get("iowait", 0.0)
    return whole - idle, whole


def _frequency() -> float | None:
    try:
        # psutil's types know nothing of machines that do not tell: virtual ones have None, or 0.
        frequency: Any = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError, AttributeError):
        # psutil raises any of these, or has no such function, where the kernel does not tell: as unknown as None.
        return None
    return round(frequency.current, 1) if frequency and frequency.current else None


def temperature(hwmon: Path) -> float | None:
    """°C of the hottest processor, from Linux's sensors; None where there are none."""
    whole: list[float] = []
    others: list[float] = []
    try:
        chips = [chip for chip in hwmon.iterdir() if _text(chip / "name") in CPU_CHIPS]
        sensors = [sensor for chip in chips for sensor in chip.glob("temp*_input")]
    except OSError:
        return None
    for sensor in sensors:
        label = _text(sensor.with_name(sensor.name.replace("_input", "_label"))) or ""
        millidegrees = _text(sensor)
        if millidegrees is not None and millidegrees.lstrip("-").isdigit():
            (whole if label.startswith(WHOLE) else others).append(int(millidegrees) / 1000)
    return round(max(whole or others), 1) if whole or others else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
