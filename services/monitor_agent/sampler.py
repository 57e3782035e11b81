"""One sample of this host: everything that `metrics` tells, put together."""

import time
from datetime import UTC, datetime
from pathlib import Path

from libs.contract.monitoring import Metrics, Processes
from services.monitor_agent.readings import memory
from services.monitor_agent.readings.cpu import CpuReading
from services.monitor_agent.readings.disks import DisksReading
from services.monitor_agent.readings.gpus import GpusReading, Nvml
from services.monitor_agent.readings.model_server import ModelServerFinder
from services.monitor_agent.readings.network import NetworkReading
from services.monitor_agent.readings.processes import ProcessesReading

# What costs more is not looked at more often, however fast the samples are. A little less than 5, so that samples
# every 5 s all have news.
SLOW_SECONDS = 4.5


class Sampler:
    """Made once in a process, since most of what it tells are differences between two looks; made, it has looked once.

    All of it blocks, some of it for as long as a disk does not answer: never call it on the event loop.
    """

    def __init__(self, host: str, *, lm_studio_url: str, nvml: Nvml | None, host_root: Path = Path("/")) -> None:
        self._host = host
        self._cpu = CpuReading()
        self._disks = DisksReading(host_root)
        self._network = NetworkReading()
        self._gpus = GpusReading(nvml)
        self._processes = ProcessesReading(ModelServerFinder(lm_studio_url))
        self._last_processes: Processes | None = None
        self._slow_at = time.monotonic()

    def sample(self, interval_seconds: int) -> Metrics:
        """How the host stands; promises the next sample within `interval_seconds`."""
        processes = self._look_slowly()
        disk, disks = self._disks.read()
        return Metrics(
            host=self._host,
            timestamp=datetime.now(UTC),
            interval_seconds=interval_seconds,
            cpu=self._cpu.read(),
            memory=memory.memory(),
            swap=memory.swap(),
            disk=disk,
            disks=disks,
            network=self._network.read(),
            gpu=self._gpus.read(),
            processes=processes,
            load_average=memory.load_average(),
        )

    def _look_slowly(self) -> Processes:
        if self._last_processes is None or time.monotonic() >= self._slow_at:
            self._slow_at = time.monotonic() + SLOW_SECONDS
            self._cpu.look_slowly()
            self._disks.look_slowly()
            self._last_processes = self._processes.read()
        return self._last_processes
