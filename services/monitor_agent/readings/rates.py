"""Counters that only grow, as rates per second; and shares as percentages."""

from collections.abc import Mapping


class Rates:
    """How fast each of many counters grows between two looks at all of them."""

    def __init__(self) -> None:
        self._counts: Mapping[str, int] = {}
        self._at = 0.0

    def per_second(self, counts: Mapping[str, int], now: float) -> dict[str, float | None]:
        """The rate of each counter since the look before (`now`: monotonic seconds).

        None for one that is new or has started again, such as that of a device that was unplugged in between.
        """
        before, seconds = self._counts, now - self._at
        self._counts, self._at = counts, now
        return {name: _rate(before.get(name), count, seconds) for name, count in counts.items()}


def _rate(before: int | None, count: int, seconds: float) -> float | None:
    if before is None or count < before or seconds <= 0:
        return None
    return round((count - before) / seconds, 1)


def percent(part: float, whole: float) -> float | None:
    """0 to 100; None of nothing."""
    return None if whole <= 0 else round(min(max(100 * part / whole, 0.0), 100.0), 1)
