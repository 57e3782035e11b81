"""Percentiles, and what several rounds say together."""

import pytest

from bench.readings import Reading, percentile, summaries


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.505, 51), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_the_value_that_so_many_are_at_or_below(share: float, value: int) -> None:
    """Of the numbers 1 to 100."""
    assert percentile(list(range(100, 0, -1)), share) == value


def test_one_value_is_every_percentile() -> None:
    """However few were measured."""
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_no_value_has_no_percentile() -> None:
    """It must not look like 0."""
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_rounds_are_told_by_their_median_and_their_spread() -> None:
    """For each peer by itself, in the order in which they were measured."""
    rounds = [Reading("W1", "ms", peer, value) for value in (3.0, 1.0, 8.0) for peer in ("a", "b")]
    rounds.append(Reading("W2", "ms", "a", 5.0))
    found = summaries(rounds)
    assert list(found) == [("W1", "ms"), ("W2", "ms")]
    assert list(found["W1", "ms"]) == ["a", "b"]
    assert found["W1", "ms"]["b"] == (3.0, 1.0, 8.0, [3.0, 1.0, 8.0])
