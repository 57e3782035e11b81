"""Who uses the processor and the memory: names and pids, never arguments, for those can hold secrets."""

import time
from typing import NamedTuple

import psutil

from libs.contract.monitoring import ModelServer, Processes, ProcessUsage
from services.monitor_agent.readings.model_server import ModelServerFinder
from services.monitor_agent.readings.names import printable
from services.monitor_agent.readings.rates import percent

# So many by processor, and so many by memory; a process may be both.
TOP = 5
# What the kernel keeps of a name. psutil completes longer ones from the command line, which a program can fill with
# whatever it likes.
KERNEL_NAME_LENGTH = 15


class Usage(NamedTuple):
    """What one process uses: a share of all cores together, and resident bytes."""

    cpu: float | None
    memory: int


class ProcessesReading:
    """Made once; made, it has taken its first look. A look costs about 60 µs a process, so it is taken seldom."""

    def __init__(self, model_server: ModelServerFinder) -> None:
        self._model_server = model_server
        # Kept from look to look: to make one anew costs more than what is asked of it.
        self._known: dict[int, psutil.Process] = {}
        self._cpu_seconds: dict[int, float] = {}
        self._at = time.monotonic()
        self._cores = psutil.cpu_count() or 1
        self._usages()

    def read(self) -> Processes:
        """The usage since the read before."""
        usages = self._usages()
        return Processes(count=len(usages), top=self._top(usages), model_server=self._model_server_usage(usages))

    def _usages(self) -> dict[int, Usage]:
        known, before = self._known, self._cpu_seconds
        self._known, self._cpu_seconds = {}, {}
        now = time.monotonic()
        spendable = (now - self._at) * self._cores
        self._at = now
        usages: dict[int, Usage] = {}
        for pid in psutil.pids():
            try:
                process = known.get(pid) or psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    memory = process.memory_info().rss
            except psutil.Error:
                continue  # It has ended, or is none of our business.
            seconds = times.user + times.system
            spent = seconds - before.get(pid, seconds + 1)
            self._known[pid] = process
            self._cpu_seconds[pid] = seconds
            # A negative difference: the pid was not there, or has passed to another process.
            usages[pid] = Usage(percent(spent, spendable) if spent >= 0 else None, memory)
        return usages

    def _top(self, usages: dict[int, Usage]) -> list[ProcessUsage]:
        by_cpu = sorted(usages, key=lambda pid: usages[pid].cpu or 0.0, reverse=True)
        by_memory = sorted(usages, key=lambda pid: usages[pid].memory, reverse=True)
        chosen = {pid for pid in by_cpu[:TOP] if usages[pid].cpu} | set(by_memory[:TOP])
        return [
            ProcessUsage(pid=pid, name=name, cpu_usage=usages[pid].cpu, memory=usages[pid].memory)
            for pid in sorted(chosen, key=lambda pid: (-(usages[pid].cpu or 0.0), -usages[pid].memory))
            if (name := process_name(self._known[pid])) is not None
        ]

    def _names(self) -> dict[int, str]:
        return {pid: process_name(process) or "" for pid, process in self._known.items()}

    def _model_server_usage(self, usages: dict[int, Usage]) -> ModelServer:
        found = self._model_server.find(self._known, self._names)
        process = None if found.pid is None else self._known.get(found.pid)
        if process is None:
            return ModelServer(running=found.running, pid=None, cpu_usage=None, memory=None)
        family = [usages[pid] for pid in (process.pid, *_descendants(process)) if pid in usages]
        shares = [usage.cpu for usage in family if usage.cpu is not None]
        return ModelServer(
            running=True,
            pid=process.pid,
            cpu_usage=round(sum(shares), 1) if shares else None,
            memory=sum(usage.memory for usage in family),
        )


def _descendants(process: psutil.Process) -> list[int]:
    try:
        return [child.pid for child in process.children(recursive=True)]
    except psutil.Error:
        return []


def process_name(process: psutil.Process) -> str | None:
    """As the kernel has it; None: the process has ended."""
    try:
        return printable(process.name()[:KERNEL_NAME_LENGTH])
    except psutil.Error:
        return None
