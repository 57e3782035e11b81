"""How often samples are wanted: every 10 s, and more often while somebody asks for it.

A demand lapses by itself, so a gateway that dies leaves nothing behind. There are at most 60, one for each interval.
"""

from libs.contract.monitoring import DEMAND_SECONDS


class Demands:
    """All times are seconds of one monotonic clock, the caller's."""

    def __init__(self, default_seconds: int, *, held_seconds: float = DEMAND_SECONDS) -> None:
        self._default = default_seconds
        self._held = held_seconds
        self._lapse_at: dict[int, float] = {}

    def add(self, interval_seconds: int, now: float) -> None:
        """Somebody wants samples this often. Said again, it holds for longer."""
        self._lapse_at[interval_seconds] = now + self._held

    def interval(self, now: float) -> int:
        """Seconds to the next sample: the shortest that is wanted, and never more than the default."""
        self._lapse_at = {interval: at for interval, at in self._lapse_at.items() if at > now}
        return min(self._default, *self._lapse_at) if self._lapse_at else self._default
