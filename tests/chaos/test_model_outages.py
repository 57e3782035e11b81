"""Short questions while the model server is away are judged by whether there is a fallback."""

import pytest

from tests.chaos import model_outages
from tests.chaos.journal import Fault, Journal
from tests.chaos.model_outages import Told

AWAY = Fault(100, "model", "model", "away", lifted_at=130, ended_at=131)
ANSWERED = Told(110, 0.5, "complete", None)
REFUSED = Told(110, 0.5, "error", "model_unavailable")


def violations(told: Told, *more: Fault, fallback: bool) -> int:
    journal = Journal(faults=[AWAY, *more])
    model_outages.judge(journal, [told], fallback=fallback)
    return len(journal.violations)


@pytest.mark.parametrize(
    ("told", "with_fallback", "without"),
    [
        (ANSWERED, 0, 1),
        (REFUSED, 1, 0),
        (REFUSED._replace(seconds=9), 1, 1),
        (REFUSED._replace(code="model_error"), 1, 1),
        # It was asked before anybody could know.
        (REFUSED._replace(at=101), 0, 0),
    ],
)
def test_a_fallback_answers_and_without_one_the_refusal_comes_in_time(
    told: Told, with_fallback: int, without: int
) -> None:
    """Neither an error where somebody could answer, nor a wait where nobody can."""
    assert violations(told, fallback=True) == with_fallback
    assert violations(told, fallback=False) == without


def test_what_else_was_wrong_at_that_time_excuses_it() -> None:
    """A worker that was frozen answers late."""
    frozen = Fault(108, "chat_worker", "chat_worker-1", "freeze", lifted_at=109, ended_at=109)
    assert violations(REFUSED._replace(seconds=9), frozen, fallback=False) == 0
