"""What is done to whom, and when: planned from a seed before anything runs, so that a seed can be played again."""

import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# Kind → action → how often, relative to the others of that kind.
ACTIONS: Mapping[str, Mapping[str, int]] = {
    "gateway": {"kill": 4, "freeze": 3, "restart": 2},
    "chat_worker": {"kill": 4, "freeze": 4, "restart": 2},
    "task_service": {"kill": 4, "freeze": 3, "restart": 2},
    "monitor_agent": {"kill": 2, "freeze": 2, "restart": 1},
    # Wiped: killed, its store lost, provisioned again. Away: killed, and down for long.
    "nats": {"kill": 3, "freeze": 2, "restart": 1, "wipe": 1},
    "valkey": {"kill": 2, "freeze": 2, "empty": 2, "away": 2},
    "database": {"kill": 3, "freeze": 2, "lock": 3},
    "model": {"kill": 2, "freeze": 2, "away": 2},
    "client_link": {"cut": 4, "freeze": 2, "delay": 2},
    "bus_link": {"cut": 4, "freeze": 2, "delay": 2},
    "model_link": {"cut": 3, "freeze": 2, "delay": 1},
    # A request that kills every worker which takes it.
    "request": {"poison": 1},
    # One after the other is told to stop and started again, as an upgrade does.
    "everything": {"roll": 1},
}
# How often each kind is hit, relative to the others.
WEIGHTS: Mapping[str, float] = {
    "gateway": 4,
    "chat_worker": 6,
    "task_service": 3,
    "monitor_agent": 1,
    "nats": 3,
    "valkey": 1,
    "database": 2,
    "model": 1,
    "client_link": 2,
    "bus_link": 2,
    "model_link": 1,
    "request": 1,
    # It takes most of a minute.
    "everything": 0.5,
}
# These take as long as they take.
AT_ONCE = {"restart", "wipe", "empty", "poison", "roll"}
# Everything stands still while one of these is frozen, so it is not for long.
NEEDED_BY_ALL = {"nats", "database"}
LONGEST_FREEZE_SECONDS = 30.0
LONGEST_FREEZE_OF_NEEDED_SECONDS = 6.0
SHORTEST_SECONDS = 0.5
LONGEST_DOWN_SECONDS = 4.0
SHORTEST_AWAY_SECONDS = 10.0
LONGEST_AWAY_SECONDS = 30.0
LONGEST_LINK_SECONDS = 12.0
# Between two faults, on the average.
GAP_SECONDS = 2.5
# Everything is running and busy by then.
FIRST_SECONDS = 3.0


class Step(NamedTuple):
    """At `at` seconds do `action` to one of `kind` (`draw` from 0 to 1 says which), for `seconds`."""

    at: float
    kind: str
    draw: float
    action: str
    seconds: float


def plan(seed: int, seconds: float, kinds: Mapping[str, set[str]], *, gap: float = GAP_SECONDS) -> list[Step]:
    """The steps of a run: `kinds` are those that exist, each with the actions that are possible on it."""
    chance = random.Random(seed)  # noqa: S311 (repeatable, guards nothing)
    return list(_steps(chance, seconds, kinds, gap))


def _steps(chance: random.Random, seconds: float, kinds: Mapping[str, set[str]], gap: float) -> Iterator[Step]:
    names = sorted(kinds)
    at = FIRST_SECONDS
    while at < seconds:
        kind = chance.choices(names, [WEIGHTS[name] for name in names])[0]
        possible = [action for action in ACTIONS[kind] if action in kinds[kind]]
        action = chance.choices(possible, [ACTIONS[kind][name] for name in possible])[0]
        yield Step(at, kind, chance.random(), action, _seconds(chance, kind, action))
        at += chance.expovariate(1 / gap)


def _seconds(chance: random.Random, kind: str, action: str) -> float:
    """Mostly short, sometimes long: evenly over the magnitudes."""
    if action in AT_ONCE:
        return 0.0
    if action == "away":
        return chance.uniform(SHORTEST_AWAY_SECONDS, LONGEST_AWAY_SECONDS)
    if action == "kill":
        # Half of them are started again at once, as a launcher would.
        return chance.choice((0.0, chance.uniform(0, LONGEST_DOWN_SECONDS)))
    longest = LONGEST_FREEZE_SECONDS
    if kind in NEEDED_BY_ALL:
        longest = LONGEST_FREEZE_OF_NEEDED_SECONDS
    elif kind.endswith("_link"):
        longest = LONGEST_LINK_SECONDS
    return float(SHORTEST_SECONDS * (longest / SHORTEST_SECONDS) ** chance.random())
