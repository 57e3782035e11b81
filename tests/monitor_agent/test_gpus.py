"""GPUs: played by an object in the place of NVML's module, since few machines have one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from libs.contract.monitoring import Gpu
from services.monitor_agent.readings import gpus
from services.monitor_agent.readings.gpus import GpusReading, load_nvml


class NvmlError(Exception):
    """What NVML raises for everything."""


class PlayedNvml:
    """Answers like `pynvml` on a machine with two GPUs, of which the second knows little."""

    NVMLError: type[Exception] = NvmlError
    NVML_TEMPERATURE_GPU: int = 0

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.asked: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's own names, here and below)
        if not self.works:
            raise NvmlError("Driver/library version mismatch")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"GPU {'AB'[handle]}"

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"00000000:0{handle + 1}:00.0")

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return self._known(handle, SimpleNamespace(gpu=0, memory=3))

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return self._known(handle, SimpleNamespace(total=8_000, used=2_000, free=6_000))

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        self.asked.append(handle)
        return 41

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return int(self._known(handle, 35_500))

    def _known(self, handle: int, answer: Any) -> Any:
        self.asked.append(handle)
        if handle == 1:
            raise NvmlError("Not Supported")
        return answer


KNOWN = Gpu(
    index=0,
    name="GPU A",
    usage=0.0,
    memory_total=8_000,
    memory_used=2_000,
    memory_used_percent=25.0,
    temperature=41.0,
    power=35.5,
)


def unknown(index: int, name: str, *, temperature: float | None) -> Gpu:
    return Gpu(
        index=index,
        name=name,
        usage=None,
        memory_total=None,
        memory_used=None,
        memory_used_percent=None,
        temperature=temperature,
        power=None,
    )


def test_what_a_gpu_does_not_know_is_null(tmp_path: Path) -> None:
    """And what is truly 0 is 0."""
    reading = GpusReading(PlayedNvml(), pci_devices=tmp_path)
    assert reading.read() == [KNOWN, unknown(1, "GPU B", temperature=41.0)]


def test_a_sleeping_gpu_is_not_woken(tmp_path: Path) -> None:
    """To ask a laptop's GPU for its memory costs hours of battery."""
    power = tmp_path / "0000:01:00.0" / "power"
    power.mkdir(parents=True)
    (power / "runtime_status").write_text("suspended\n")
    nvml = PlayedNvml()
    reading = GpusReading(nvml, pci_devices=tmp_path)
    assert reading.read()[0] == unknown(0, "GPU A", temperature=None)
    # Usage, memory, temperature and power of the other one.
    assert nvml.asked == [1, 1, 1, 1]
    (power / "runtime_status").write_text("active\n")
    assert reading.read()[0] == KNOWN


def test_a_driver_that_does_not_work_means_no_gpu() -> None:
    """As after an update without a restart; said once in the log."""
    assert GpusReading(PlayedNvml(works=False)).read() == []


def test_without_the_driver_nothing_is_loaded_and_the_list_is_empty() -> None:
    """No cost where there is no GPU."""
    assert GpusReading(None).read() == []


def test_the_bindings_are_not_imported_without_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take megabytes."""
    monkeypatch.setattr(gpus, "DRIVER_LIBRARY", "libno-such-driver.so.1")
    assert load_nvml() is None


def test_the_real_bindings_have_everything_that_is_asked_of_them() -> None:
    """The played ones stand for these, name by name."""
    import pynvml  # type: ignore[import-untyped] # noqa: PLC0415 (only this test needs it)

    for name in (name for name in vars(PlayedNvml) if not name.startswith("_")):
        assert hasattr(pynvml, name), name
    assert issubclass(pynvml.NVMLError, Exception)
