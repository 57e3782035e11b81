"""Memory and swap, and how many want to run."""

import psutil

from libs.contract.monitoring import Memory, Swap
from services.monitor_agent.readings.rates import percent


def memory() -> Memory:
    """The machine's memory, also inside a container."""
    now = psutil.virtual_memory()
    return Memory(
        total=now.total,
        used=now.used,
        free=now.free,
        available=now.available,
        used_percent=percent(now.total - now.available, now.total),
    )


def swap() -> Swap:
    """Its percentage is null where there is none."""
    now = psutil.swap_memory()
    return Swap(total=now.total, used=now.used, free=now.free, used_percent=percent(now.used, now.total))


def load_average() -> list[float] | None:
    """Over 1, 5 and 15 minutes."""
    try:
        return [round(load, 2) for load in psutil.getloadavg()]
    except OSError:
        return None
