"""How often samples are wanted, by the clock of whoever asks."""

from libs.contract.monitoring import DEMAND_AGAIN_SECONDS, DEMAND_SECONDS
from services.monitor_agent.demands import Demands


def test_nobody_watching_means_the_default() -> None:
    """10 s unless it was set otherwise."""
    assert Demands(10).interval(0) == 10


def test_the_shortest_interval_that_is_wanted_counts() -> None:
    """Who wants fewer samples leaves some out; who wants more cannot make them up."""
    demands = Demands(10)
    for interval in (5, 2, 60):
        demands.add(interval, 0)
    assert demands.interval(1) == 2


def test_a_demand_slower_than_the_default_changes_nothing() -> None:
    """There are other watchers, and the history."""
    demands = Demands(10)
    demands.add(60, 0)
    assert demands.interval(1) == 10


def test_a_demand_lapses_unless_it_is_said_again() -> None:
    """Nothing counts watchers, so nothing can count wrong."""
    demands = Demands(10)
    demands.add(1, 0)
    demands.add(5, 4)
    assert demands.interval(DEMAND_SECONDS - 0.1) == 1
    assert demands.interval(DEMAND_SECONDS) == 5
    demands.add(5, DEMAND_SECONDS)
    assert demands.interval(DEMAND_SECONDS + 9) == 5
    assert demands.interval(2 * DEMAND_SECONDS) == 10


def test_two_renewals_may_be_lost() -> None:
    """NATS promises to deliver at most once."""
    assert 3 * DEMAND_AGAIN_SECONDS < DEMAND_SECONDS
