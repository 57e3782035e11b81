"""What processes cost: CPU time and memory."""

import time
from collections.abc import Iterable

import psutil


def cpu_ns(pid: int) -> int:
    """The CPU time of a process with all its threads, user and system, since it began. Raises if it is gone.

    On Linux to the nanosecond, by the clock that the system keeps for each process: its number is made as
    clock_getcpuclockid(3) makes it. Elsewhere in steps of 10 ms.
    """
    if psutil.LINUX:
        return time.clock_gettime_ns((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return int((times.user + times.system) * 1e9)


def family(pids: Iterable[int]) -> list[int]:
    """These processes and all that they have started."""
    return [one for pid in pids for one in (pid, *(child.pid for child in psutil.Process(pid).children(True)))]


def total_cpu_ns(pids: Iterable[int]) -> int:
    return sum(cpu_ns(pid) for pid in family(pids))


def rss_bytes(pid: int) -> int:
    """What it holds in memory, shared pages included."""
    return int(psutil.Process(pid).memory_info().rss)


def pss_bytes(pid: int) -> int | None:
    """What it holds in memory, each shared page divided by those who share it; None where the system does not tell."""
    told = getattr(psutil.Process(pid).memory_full_info(), "pss", None)
    return None if told is None else int(told)
