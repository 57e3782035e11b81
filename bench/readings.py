"""What was measured: one number of one peer in one round; and what several rounds say together."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """`load` and `metric` name what was measured; the unit is part of the metric's name."""

    load: str
    metric: str
    peer: str
    value: float


class Result(NamedTuple):
    """What a load has measured. `faults`: what must not be, in sentences."""

    readings: list[Reading]
    faults: list[str]


class Summary(NamedTuple):
    """The rounds of one thing."""

    median: float
    lowest: float
    highest: float
    values: list[float]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of all are at or below: always one that was measured. Raises `ValueError`.

    >>> percentile([4, 1, 3, 2], 0.5)
    2
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-len(ordered) * share // 1) - 1))]


def together(results: Iterable[Result]) -> Result:
    """Several as one."""
    kept = list(results)
    return Result(
        [one for result in kept for one in result.readings], [one for result in kept for one in result.faults]
    )


def summaries(readings: Iterable[Reading]) -> dict[tuple[str, str], dict[str, Summary]]:
    """(load, metric) → peer → its rounds; in the order in which they were first seen."""
    grouped: dict[tuple[str, str], dict[str, list[float]]] = {}
    for reading in readings:
        grouped.setdefault((reading.load, reading.metric), {}).setdefault(reading.peer, []).append(reading.value)
    return {
        key: {
            peer: Summary(statistics.median(values), min(values), max(values), values) for peer, values in peers.items()
        }
        for key, peers in grouped.items()
    }
