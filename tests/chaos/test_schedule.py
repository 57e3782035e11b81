"""A schedule is planned from its seed."""

from tests.chaos.schedule import ACTIONS, LONGEST_FREEZE_OF_NEEDED_SECONDS, plan

EVERYTHING = {kind: set(actions) for kind, actions in ACTIONS.items()}


def test_the_same_seed_gives_the_same_steps() -> None:
    """And another one does not."""
    assert plan(7, 180, EVERYTHING) == plan(7, 180, EVERYTHING)
    assert plan(7, 180, EVERYTHING) != plan(8, 180, EVERYTHING)


def test_an_hour_holds_every_action_on_every_kind() -> None:
    """None is forgotten, and none is planned that is not possible."""
    steps = plan(1, 3600, EVERYTHING)
    assert {(step.kind, step.action) for step in steps} == {(kind, one) for kind in ACTIONS for one in ACTIONS[kind]}
    assert {step.kind for step in plan(1, 600, {"nats": {"kill"}})} == {"nats"}


def test_what_everybody_needs_is_never_away_for_long() -> None:
    """Otherwise a run would show little else."""
    steps = plan(1, 3600, EVERYTHING)
    longest = max(step.seconds for step in steps if step.kind in ("nats", "database"))
    assert longest <= LONGEST_FREEZE_OF_NEEDED_SECONDS
