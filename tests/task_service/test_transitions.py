"""Which status may follow which: every pair, and what is said of those that may not."""

import itertools
from collections.abc import Callable

import pytest

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import SubtaskStatus, TaskStatus
from services.task_service.transitions import check_subtask, check_task

# Row: before; the letters say what may follow (p pending, l planning, e executing, v validating, c completed,
# f failed, a paused, x cancelled). To stay as it is, is always allowed.
TASK = {
    TaskStatus.PENDING: "p l e f a x",
    TaskStatus.PLANNING: "l e f a x",
    TaskStatus.EXECUTING: "l e v c f a x",
    TaskStatus.VALIDATING: "e v c f a x",
    TaskStatus.COMPLETED: "c",
    TaskStatus.FAILED: "p l e f x",
    TaskStatus.PAUSED: "p l e v f a x",
    TaskStatus.CANCELLED: "x",
}
TASK_LETTERS = dict(zip("plevcfax", TaskStatus, strict=True))
SUBTASK = {
    SubtaskStatus.PENDING: "p e f",
    SubtaskStatus.EXECUTING: "e v c f",
    SubtaskStatus.VALIDATING: "v c r f",
    SubtaskStatus.COMPLETED: "c",
    SubtaskStatus.REJECTED: "p e r f",
    SubtaskStatus.FAILED: "p e f",
}
SUBTASK_LETTERS = dict(zip("pevcrf", SubtaskStatus, strict=True))


@pytest.mark.parametrize(("before", "after"), [*itertools.product(TaskStatus, repeat=2)])
def test_a_task_goes_only_legal_ways(before: TaskStatus, after: TaskStatus) -> None:
    """Each of the 64 pairs."""
    legal = after in {TASK_LETTERS[letter] for letter in TASK[before].split()}
    assert allowed(lambda: check_task(7, before, after)) == legal


@pytest.mark.parametrize(("before", "after"), [*itertools.product(SubtaskStatus, repeat=2)])
def test_a_subtask_goes_only_legal_ways(before: SubtaskStatus, after: SubtaskStatus) -> None:
    """Each of the 36 pairs."""
    legal = after in {SUBTASK_LETTERS[letter] for letter in SUBTASK[before].split()}
    assert allowed(lambda: check_subtask("one", before, after)) == legal


def test_what_is_illegal_is_refused_by_name() -> None:
    """A person reads what cannot be."""
    with pytest.raises(RequestError, match=r"^Task 7: a completed task cannot become executing\.$"):
        check_task(7, TaskStatus.COMPLETED, TaskStatus.EXECUTING)
    with pytest.raises(RequestError, match=r"^“one”: an executing subtask cannot become pending\.$"):
        check_subtask("one", SubtaskStatus.EXECUTING, SubtaskStatus.PENDING)


def allowed(check: Callable[[], None]) -> bool:
    try:
        check()
    except RequestError as error:
        return error.code is not ErrorCode.CONFLICT
    return True
