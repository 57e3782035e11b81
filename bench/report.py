"""What is shown and what is written: one table, one JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.goals import Goal, goal_of
from bench.readings import Reading, Summary, summaries

OURS = "ours"
WIDTH = 150
# How the name of a number begins that is a part of the one before it.
PART_OF = "…"

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of progress."""
    console.print(text, markup=False)


def number(value: float) -> str:
    """Three digits that mean something.

    >>> number(1234.5), number(12.345), number(0.01234)
    ('1,234', '12.3', '0.0123')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown(summary: Summary) -> str:
    """The median, and the lowest and the highest round if there was more than one."""
    if len(summary.values) == 1 or summary.lowest == summary.highest:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.lowest)}–{number(summary.highest)})"


def told(readings: Sequence[Reading]) -> list[str]:
    """For each load and peer a line with all that was measured, but for its parts."""
    lines: dict[tuple[str, str], list[str]] = {}
    for (load, metric), by_peer in summaries(readings).items():
        for peer, summary in by_peer.items():
            if not metric.startswith(PART_OF):
                lines.setdefault((load, peer), []).append(f"{metric} {number(summary.median)}")
    return [f"{load}, {peer}: {'  '.join(values)}" for (load, peer), values in lines.items()]


def verdict(goal: Goal | None, ours: Summary | None) -> str:
    if goal is None:
        return ""
    if ours is None:
        return str(goal)
    return f"{goal}  " + ("met" if goal.met(ours.median) else "MISSED")


def show(readings: Sequence[Reading], title: str) -> None:
    """The table: a row for each number, a column for each peer."""
    peers = list(dict.fromkeys(reading.peer for reading in readings))
    table = Table(title=title, title_justify="left", caption="median (lowest–highest round)", caption_justify="left")
    for name in ("", *peers, "goal"):
        table.add_column(name, no_wrap=True)
    load_before = ""
    for (load, metric), by_peer in summaries(readings).items():
        if load != load_before:
            table.add_section()
            table.add_row(f"[bold]{load}[/bold]")
            load_before = load
        cells = [shown(by_peer[peer]) if peer in by_peer else "" for peer in peers]
        table.add_row(f"  {metric}", *cells, verdict(goal_of(load, metric), by_peer.get(OURS)))
    Console(highlight=False, width=max(WIDTH, console.width)).print(table)


def written(readings: Sequence[Reading], faults: Sequence[str], machine: Mapping[str, Any]) -> dict[str, Any]:
    """The same as values for a program."""
    rows = []
    for (load, metric), by_peer in summaries(readings).items():
        goal = goal_of(load, metric)
        for peer, summary in by_peer.items():
            row: dict[str, Any] = {"load": load, "metric": metric, "peer": peer, **summary._asdict()}
            if goal is not None and peer == OURS:
                row |= {"goal": str(goal), "met": goal.met(summary.median)}
            rows.append(row)
    return {"machine": machine, "faults": list(faults), "rows": rows}


def write(file: Path, readings: Sequence[Reading], faults: Sequence[str], machine: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(written(readings, faults, machine), indent=1, ensure_ascii=False) + "\n")
