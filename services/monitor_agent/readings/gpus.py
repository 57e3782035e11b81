"""NVIDIA GPUs by NVML. Where there is no driver the library is not even imported, and the list is empty.

A field that a GPU does not know is null, never 0. A GPU that the system has put to sleep is not woken to be measured:
https://www.kernel.org/doc/html/latest/power/runtime_pm.html
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import structlog

from libs.contract.monitoring import Gpu
from services.monitor_agent.readings.names import printable
from services.monitor_agent.readings.rates import percent

log = structlog.get_logger(__name__)

DRIVER_LIBRARY = "libnvidia-ml.so.1"
PCI_DEVICES = Path("/sys/bus/pci/devices")

T = TypeVar("T")


class Nvml(Protocol):
    """The part of the module `pynvml` (package nvidia-ml-py) that is used here."""

    NVMLError: type[Exception]
    NVML_TEMPERATURE_GPU: int

    def nvmlInit(self) -> None: ...  # noqa: N802 (NVML's own names, here and below)
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: Any) -> str: ...  # noqa: N802
    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...  # noqa: N802


def load_nvml() -> Nvml | None:
    """NVML where this machine has NVIDIA's driver; None elsewhere, without the memory that its bindings take."""
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return None
    import pynvml  # type: ignore[import-untyped] # noqa: PLC0415 (330 KB of source, of use to few machines)

    return cast("Nvml", pynvml)


class GpusReading:
    """The GPUs that were there at the start."""

    def __init__(self, nvml: Nvml | None, *, pci_devices: Path = PCI_DEVICES) -> None:
        self._nvml = nvml
        self._pci_devices = pci_devices
        self._gpus: list[tuple[Any, str | None, Path | None]] = []
        if nvml is not None:
            try:
                nvml.nvmlInit()
                handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            except nvml.NVMLError as error:
                log.warning("NVML is there, but does not work: no GPU is shown", error=str(error))
                return
            self._gpus = [(handle, self._name(nvml, handle), self._device(nvml, handle)) for handle in handles]

    def read(self) -> list[Gpu]:
        """How every GPU stands now."""
        if self._nvml is None:
            return []
        return [self._read(self._nvml, index, *gpu) for index, gpu in enumerate(self._gpus)]

    def _read(self, nvml: Nvml, index: int, handle: Any, name: str | None, device: Path | None) -> Gpu:
        asleep = device is not None and _sleeps(device)

        def ask(question: Callable[[], T]) -> T | None:
            return None if asleep else self._answer(nvml, question)

        utilization = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        temperature = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return Gpu(
            index=index,
            name=name,
            usage=None if utilization is None else float(utilization.gpu),
            memory_total=None if memory is None else memory.total,
            memory_used=None if memory is None else memory.used,
            memory_used_percent=None if memory is None else percent(memory.used, memory.total),
            temperature=None if temperature is None else float(temperature),
            power=None if milliwatts is None else milliwatts / 1000,
        )

    def _name(self, nvml: Nvml, handle: Any) -> str | None:
        name = self._answer(nvml, lambda: nvml.nvmlDeviceGetName(handle))
        return None if name is None else printable(name)

    def _device(self, nvml: Nvml, handle: Any) -> Path | None:
        """Where Linux tells about the GPU's power. NVML writes the bus as 00000000:01:00.0, Linux as 0000:01:00.0."""
        pci = self._answer(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle))
        if pci is None:
            return None
        bus = pci.busId.decode() if isinstance(pci.busId, bytes) else pci.busId
        return self._pci_devices / bus.lower()[-len("0000:01:00.0") :]

    def _answer(self, nvml: Nvml, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except nvml.NVMLError:
            return None  # Not supported by this GPU, or it has been lost.


def _sleeps(device: Path) -> bool:
    try:
        return (device / "power" / "runtime_status").read_text().strip() == "suspended"
    except OSError:
        return False
