"""What a request makes of a task: progress, ends, subtasks, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import (
    NewSubtask,
    SubtaskChange,
    SubtaskStatus,
    TaskCreate,
    TaskState,
    TaskStatus,
    TaskUpdate,
)
from services.task_service import changes

EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
NOW = EARLIER + timedelta(hours=1)

_T = TaskStatus
_S = SubtaskStatus


def task(status: TaskStatus = _T.PENDING, *subtasks: SubtaskStatus, progress: int = 0) -> TaskState:
    """Task 7 at revision 3, with subtasks 1, 2, …"""
    fresh = changes.created(TaskCreate("t", subtasks=[NewSubtask("s")] * len(subtasks)), EARLIER)
    ended = EARLIER if status.ended else None
    numbered = [
        replace(subtask, id=number, status=stands, completed_at=EARLIER if stands.ended else None)
        for number, (subtask, stands) in enumerate(zip(fresh.subtasks, subtasks, strict=True), start=1)
    ]
    changed = replace(fresh.task, id=7, status=status, progress=progress, completed_at=ended)
    return replace(fresh, task=changed, subtasks=numbered, revision=3)


def after(before: TaskState, asked: TaskUpdate) -> TaskState:
    return changes.changed(before, asked, NOW)


def refused(before: TaskState, asked: TaskUpdate) -> tuple[ErrorCode, str]:
    with pytest.raises(RequestError) as caught:
        after(before, asked)
    return caught.value.code, caught.value.message


def test_progress_without_subtasks_is_what_is_reported() -> None:
    """And stays when something else changes."""
    assert after(task(), TaskUpdate(7, progress=40)).task.progress == 40
    assert after(task(progress=40), TaskUpdate(7, status=_T.EXECUTING)).task.progress == 40


@pytest.mark.parametrize(
    ("subtasks", "progress"),
    [
        ([_S.PENDING], 0),
        ([_S.COMPLETED, _S.PENDING, _S.EXECUTING], 33),
        ([_S.COMPLETED, _S.FAILED], 50),
        ([_S.COMPLETED, _S.COMPLETED], 100),
    ],
)
def test_progress_with_subtasks_is_the_share_that_is_completed(subtasks: list[SubtaskStatus], progress: int) -> None:
    """Whatever was reported before there were any."""
    assert after(task(_T.EXECUTING, *subtasks, progress=77), TaskUpdate(7, title="x")).task.progress == progress


def test_progress_follows_a_subtask_and_cannot_be_set_beside_it() -> None:
    """In the same change as the subtask's."""
    before = task(_T.EXECUTING, _S.EXECUTING, _S.PENDING)
    done = after(before, TaskUpdate(7, subtasks=[SubtaskChange(1, status=_S.COMPLETED)]))
    assert (done.task.progress, done.subtasks[0].completed_at) == (50, NOW)
    more = after(done, TaskUpdate(7, subtasks=[SubtaskChange(title="a"), SubtaskChange(title="b")]))
    assert more.task.progress == 25
    assert refused(before, TaskUpdate(7, progress=10))[0] is ErrorCode.CONFLICT


def test_a_completed_task_is_at_100_and_says_when() -> None:
    """Also when nobody reported it, and when a subtask has failed."""
    done = after(task(_T.EXECUTING, progress=40), TaskUpdate(7, status=_T.COMPLETED)).task
    assert (done.progress, done.completed_at) == (100, NOW)
    done = after(task(_T.VALIDATING, _S.COMPLETED, _S.FAILED), TaskUpdate(7, status=_T.COMPLETED)).task
    assert (done.progress, done.completed_at) == (100, NOW)


def test_a_task_with_unfinished_subtasks_cannot_become_completed() -> None:
    """Unless the same change ends them."""
    before = task(_T.EXECUTING, _S.COMPLETED, _S.EXECUTING)
    assert refused(before, TaskUpdate(7, status=_T.COMPLETED)) == (
        ErrorCode.CONFLICT,
        "Task 7: a task with unfinished subtasks cannot become completed; “s” is executing.",
    )
    both = TaskUpdate(7, status=_T.COMPLETED, subtasks=[SubtaskChange(2, status=_S.COMPLETED)])
    assert after(before, both).task.status is _T.COMPLETED


def test_an_end_is_kept_until_work_goes_on() -> None:
    """`completedAt`: set by each end, kept by other changes, cleared when a failed task is taken up again."""
    assert after(task(_T.EXECUTING), TaskUpdate(7, status=_T.CANCELLED)).task.completed_at == NOW
    assert after(task(_T.FAILED), TaskUpdate(7, title="x")).task.completed_at == EARLIER
    assert after(task(_T.FAILED), TaskUpdate(7, status=_T.EXECUTING)).task.completed_at is None
    again = after(
        task(_T.EXECUTING, _S.FAILED), TaskUpdate(7, subtasks=[SubtaskChange(1, status=_S.EXECUTING)])
    ).subtasks[0]
    assert again.completed_at is None


@pytest.mark.parametrize("ended", [_T.COMPLETED, _T.FAILED, _T.CANCELLED])
def test_an_ended_task_keeps_its_progress_and_subtasks(ended: TaskStatus) -> None:
    """A late report of a worker changes nothing; its title may still be corrected."""
    assert refused(task(ended), TaskUpdate(7, progress=50))[0] is ErrorCode.CONFLICT
    late = TaskUpdate(7, subtasks=[SubtaskChange(1, status=_S.EXECUTING)])
    assert refused(task(ended, _S.PENDING), late)[0] is ErrorCode.CONFLICT
    assert after(task(ended), TaskUpdate(7, title="corrected")).task.title == "corrected"


def test_the_wrong_revision_is_told_with_the_right_one() -> None:
    """So that the caller knows what happened."""
    assert refused(task(), TaskUpdate(7, title="x", revision=2)) == (
        ErrorCode.CONFLICT,
        "Task 7 is at revision 3, not 2. Read it again.",
    )


def test_a_change_without_content_is_no_change() -> None:
    """It would be a revision that says nothing."""
    assert refused(task(), TaskUpdate(7, revision=3, request_id="r"))[0] is ErrorCode.INVALID_FRAME


def test_a_new_subtask_needs_a_title_and_begins_as_pending() -> None:
    """From there it may go on at once."""
    nameless = TaskUpdate(7, subtasks=[SubtaskChange(status=_S.EXECUTING)])
    assert refused(task(), nameless)[0] is ErrorCode.INVALID_FRAME
    started = TaskUpdate(7, subtasks=[SubtaskChange(title="a", description="d", status=_S.EXECUTING)])
    (subtask,) = after(task(), started).subtasks
    assert (subtask.title, subtask.description, subtask.status) == ("a", "d", _S.EXECUTING)
    skipping = TaskUpdate(7, subtasks=[SubtaskChange(title="a", status=_S.COMPLETED)])
    assert refused(task(), skipping) == (ErrorCode.CONFLICT, "“a”: a pending subtask cannot become completed.")


def test_a_task_has_100_subtasks_at_most() -> None:
    """Every one of them is in every update."""
    full = task(_T.EXECUTING, *[_S.PENDING] * 99)
    assert len(after(full, TaskUpdate(7, subtasks=[SubtaskChange(title="100")])).subtasks) == 100
    two = TaskUpdate(7, subtasks=[SubtaskChange(title="100"), SubtaskChange(title="101")])
    assert refused(full, two)[0] is ErrorCode.TOO_LARGE


def test_a_clock_that_runs_behind_does_not_turn_time_back() -> None:
    """Another service, whose clock is ahead, wrote before."""
    late = changes.changed(task(), TaskUpdate(7, progress=1), EARLIER - timedelta(minutes=1))
    assert late.timestamp == late.task.updated_at == EARLIER
