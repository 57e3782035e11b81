"""Which status may follow which: the whole table, and the sentence that refuses what is not in it.

task      pending ─▶ planning ─▶ executing ─▶ validating ─▶ completed
          what has not ended ─▶ paused | failed | cancelled;  paused ─▶ where it goes on;  failed ─▶ again
subtask   pending ─▶ executing ─▶ validating ─▶ completed | rejected ─▶ again
"""

from collections.abc import Mapping
from typing import TypeVar

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import SubtaskStatus, TaskStatus

S = TypeVar("S", TaskStatus, SubtaskStatus)

_T = TaskStatus
TASK: Mapping[TaskStatus, set[TaskStatus]] = {
    _T.PENDING: {_T.PLANNING, _T.EXECUTING, _T.PAUSED, _T.FAILED, _T.CANCELLED},
    _T.PLANNING: {_T.EXECUTING, _T.PAUSED, _T.FAILED, _T.CANCELLED},
    _T.EXECUTING: {_T.PLANNING, _T.VALIDATING, _T.COMPLETED, _T.PAUSED, _T.FAILED, _T.CANCELLED},
    _T.VALIDATING: {_T.EXECUTING, _T.COMPLETED, _T.PAUSED, _T.FAILED, _T.CANCELLED},
    _T.PAUSED: {_T.PENDING, _T.PLANNING, _T.EXECUTING, _T.VALIDATING, _T.FAILED, _T.CANCELLED},
    _T.FAILED: {_T.PENDING, _T.PLANNING, _T.EXECUTING, _T.CANCELLED},
    _T.COMPLETED: set(),
    _T.CANCELLED: set(),
}

_S = SubtaskStatus
SUBTASK: Mapping[SubtaskStatus, set[SubtaskStatus]] = {
    _S.PENDING: {_S.EXECUTING, _S.FAILED},
    _S.EXECUTING: {_S.VALIDATING, _S.COMPLETED, _S.FAILED},
    _S.VALIDATING: {_S.COMPLETED, _S.REJECTED, _S.FAILED},
    _S.REJECTED: {_S.PENDING, _S.EXECUTING, _S.FAILED},
    _S.FAILED: {_S.PENDING, _S.EXECUTING},
    _S.COMPLETED: set(),
}


def check_task(task_id: int, before: TaskStatus, after: TaskStatus) -> None:
    """Raises `RequestError(conflict)` unless `after` may follow `before`. To stay as it is, is no transition."""
    if not _may_follow(TASK, before, after):
        raise conflict(f"Task {task_id}: {named(before)} task cannot become {after}.")


def check_subtask(title: str, before: SubtaskStatus, after: SubtaskStatus) -> None:
    """The same for a subtask, which is named by its title: a new one has no id yet."""
    if not _may_follow(SUBTASK, before, after):
        raise conflict(f"“{title}”: {named(before)} subtask cannot become {after}.")


def named(status: TaskStatus | SubtaskStatus) -> str:
    """With its article.

    >>> named(TaskStatus.EXECUTING)
    'an executing'
    """
    return f"{'an' if status[0] in 'aeiou' else 'a'} {status}"


def conflict(message: str) -> RequestError:
    return RequestError(ErrorCode.CONFLICT, message)


def _may_follow(table: Mapping[S, set[S]], before: S, after: S) -> bool:
    return after is before or after in table[before]
