"""What the benchmark says about its numbers."""

from pathlib import Path

from bench import report
from bench.goals import GOALS, at_least, at_most
from bench.readings import Reading, Summary

READINGS = [
    Reading("W2: many", "CPU µs/token", "ours", 70.0),
    Reading("W2: many", "CPU µs/token", "monolith", 289.0),
    Reading("W2: many", "token added ms p99", "ours", 9.0),
]


def summary(*values: float) -> Summary:
    return Summary(values[0], min(values), max(values), list(values))


def test_a_goal_is_met_or_missed_by_the_median() -> None:
    """Both kinds of bound."""
    assert report.verdict(at_most(80), summary(70, 60, 90)) == "≤ 80  met"
    assert report.verdict(at_most(80), summary(81)) == "≤ 80  MISSED"
    assert report.verdict(at_least(50_000), summary(49_999)) == "≥ 50,000  MISSED"


def test_a_goal_without_a_measurement_is_neither() -> None:
    """And a number without a goal has none."""
    assert report.verdict(at_most(80), None) == "≤ 80"
    assert report.verdict(None, summary(1)) == ""


def test_a_number_shows_its_spread_only_if_there_is_one() -> None:
    """One round has none."""
    assert report.shown(summary(12.345)) == "12.3"
    assert report.shown(summary(12.345, 10.0, 1999.9)) == "12.3 (10–2,000)"


def test_what_is_written_holds_every_round_and_the_goals_of_ours_alone() -> None:
    """A goal says nothing about a peer."""
    rows = report.written(READINGS, ["a fault"], {"cores": 2})["rows"]
    assert [row.get("met") for row in rows] == [True, None, False]
    assert rows[1]["values"] == [289.0]


def test_what_is_written_is_a_json_file(tmp_path: Path) -> None:
    """With the machine and the faults."""
    file = tmp_path / "bench.json"
    report.write(file, READINGS, ["a fault"], {"cores": 2})
    assert '"cores": 2' in file.read_text()
    assert '"a fault"' in file.read_text()


def test_every_goal_has_a_bound_that_can_be_missed() -> None:
    """`≤ 0` is for what may not happen at all; nothing else is that strict."""
    zero = {metric for (_, metric), goal in GOALS.items() if goal.bound == 0}
    assert zero == {"lost or repeated"}
