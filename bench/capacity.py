"""How much a number of people needs: what a unit of work has cost in a run of `scripts/bench`, times what they do.

    .venv/bin/python -m bench.capacity result.json

Linear on purpose: tokens cost less the more of them arrive together, so it says too much for processes that are full,
and too little for idle ones. How far off it is shows in the same run: the loads that it was not made from are foretold
and compared with what was measured.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

# A process of Python uses one core; above this share of it, delays grow faster than the work.
MOST_BUSY = 0.6
PEOPLE = (10_000, 100_000, 1_000_000)
PARTS = ("gateway", "chat_worker", "nats")


class Person(NamedTuple):
    """What one connected person does, on the average of a busy hour. Assumptions: put your own here."""

    answers_per_hour: float = 10
    tokens_per_answer: float = 300
    # Samples of machines and changes of tasks that reach the screen.
    updates_per_minute: float = 12
    reconnects_per_hour: float = 2

    @property
    def tokens_per_second(self) -> float:
        return self.answers_per_hour * self.tokens_per_answer / 3600


class Costs(NamedTuple):
    """CPU microseconds of one core by unit of work, and the memory of an idle connection."""

    token: Mapping[str, float]
    delivery: float
    connect: float
    connection_kib: float


class Need(NamedTuple):
    """For a number of people."""

    people: int
    tokens_per_second: float
    cores: Mapping[str, float]
    processes: Mapping[str, int]
    gateway_memory_gib: float


def costs_of(result: Mapping[str, Any]) -> Costs:
    """From W2, the fan-out of a sample and the idle connections of one run. Raises `KeyError` if one is not in it."""
    found = medians(result)
    return Costs(
        token={part: found["W2", f"… {part}"] for part in PARTS},
        delivery=found["fan-out sample", "CPU µs/delivery"],
        connect=found["idle", "CPU µs/connect"],
        connection_kib=found["idle", "KiB/connection"],
    )


def medians(result: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Of this system, by the word before the colon in the load's name, and the metric."""
    rows = [row for row in result["rows"] if row["peer"] == "ours"]
    return {(row["load"].partition(":")[0], row["metric"]): row["median"] for row in rows}


def need(people: int, person: Person, costs: Costs) -> Need:
    """Cores that are busy, and processes so that none of them is busier than `MOST_BUSY`."""
    tokens = people * person.tokens_per_second
    cores = {part: tokens * cost / 1e6 for part, cost in costs.token.items()}
    cores["gateway"] += people * person.updates_per_minute / 60 * costs.delivery / 1e6
    cores["gateway"] += people * person.reconnects_per_hour / 3600 * costs.connect / 1e6
    processes = {part: max(1, math.ceil(busy / MOST_BUSY)) for part, busy in cores.items()}
    return Need(people, tokens, cores, processes, people * costs.connection_kib / 1024**2)


def foretold(result: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Load, CPU µs a token as foretold from W2, as measured: for the chat loads that the costs are not made from."""
    found, costs = medians(result), costs_of(result)
    whole = sum(costs.token.values())
    loads = sorted({load for load, metric in found if metric == "CPU µs/token" and load != "W2"})
    return [(load, whole, sum(found[load, f"… {part}"] for part in PARTS)) for load in loads]


def main() -> int:
    arguments = _arguments()
    result = json.loads(arguments.result.read_text())
    console = Console(highlight=False)
    console.print(_needs([need(people, Person(), costs_of(result)) for people in PEOPLE]))
    console.print(_checks(foretold(result)))
    return 0


def _needs(needs: Sequence[Need]) -> Table:
    table = Table("people", "tokens/s", *(f"{part}: cores, processes" for part in PARTS), "gateway memory")
    for one in needs:
        parts = (f"{one.cores[part]:,.1f}, {one.processes[part]:,}" for part in PARTS)
        table.add_row(f"{one.people:,}", f"{one.tokens_per_second:,.0f}", *parts, f"{one.gateway_memory_gib:,.1f} GiB")
    return table


def _checks(checks: Sequence[tuple[str, float, float]]) -> Table:
    table = Table("load", "foretold µs/token", "measured", "off by")
    for load, said, measured in checks:
        table.add_row(load, f"{said:,.0f}", f"{measured:,.0f}", f"{said / measured - 1:+.0%}")
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("result", type=Path, help="what scripts/bench --json has written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
