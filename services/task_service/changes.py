"""What a request makes of a task: the state before and what is asked in, the state after out. Knows no database.

Progress: 100 when completed; else, with subtasks, the share of them that is completed; else what was last reported.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import (
    MAX_SUBTASKS,
    Subtask,
    SubtaskChange,
    SubtaskStatus,
    Task,
    TaskCreate,
    TaskState,
    TaskStatus,
    TaskUpdate,
)
from services.task_service.transitions import check_subtask, check_task, conflict, named

# The id of what the database has not numbered yet.
NEW = 0


def created(asked: TaskCreate, now: datetime) -> TaskState:
    """The task at its first revision."""
    task = Task(
        id=NEW,
        title=asked.title,
        description=asked.description,
        status=TaskStatus.PENDING,
        priority=asked.priority,
        progress=0,
        created_at=now,
        updated_at=now,
        completed_at=None,
    )
    return TaskState(task, [_new_subtask(one.title, one.description, now) for one in asked.subtasks], now, 1)


def changed(before: TaskState, asked: TaskUpdate, now: datetime) -> TaskState:
    """The task at its next revision; new subtasks have the id `NEW`.

    Raises `RequestError`: `conflict` for what the task as it stands does not allow, `not_found` for an unknown
    subtask, `invalid_frame` for what is not complete.
    """
    task = before.task
    # Clocks of two services may differ; the time stamps of one task still never run backwards.
    now = max(now, task.updated_at)
    status = task.status if asked.status is None else asked.status
    if asked == TaskUpdate(task.id, revision=asked.revision, request_id=asked.request_id):
        raise RequestError(ErrorCode.INVALID_FRAME, "task:update: say what is to change.")
    if asked.revision not in (None, before.revision):
        raise conflict(f"Task {task.id} is at revision {before.revision}, not {asked.revision}. Read it again.")
    check_task(task.id, task.status, status)
    if task.status.ended and status.ended and (asked.subtasks or asked.progress is not None):
        raise conflict(f"Task {task.id}: {named(task.status)} task has ended; its progress and subtasks are final.")
    subtasks = _changed_subtasks(before.subtasks, asked.subtasks, now)
    if asked.progress is not None and subtasks:
        raise conflict(f"Task {task.id} has subtasks; its progress follows from them.")
    if status is TaskStatus.COMPLETED and status is not task.status:
        _check_all_ended(task.id, subtasks)
    task = replace(
        task,
        title=task.title if asked.title is None else asked.title,
        description=task.description if asked.description is None else asked.description,
        status=status,
        priority=task.priority if asked.priority is None else asked.priority,
        progress=progress(status, subtasks, task.progress if asked.progress is None else asked.progress),
        updated_at=now,
        completed_at=_end(task, status, now),
    )
    return TaskState(task, subtasks, now, before.revision + 1)


def progress(status: TaskStatus, subtasks: Sequence[Subtask], reported: int) -> int:
    """0 to 100, by the rule in this module's first lines."""
    if status is TaskStatus.COMPLETED:
        return 100
    if not subtasks:
        return reported
    return 100 * sum(subtask.status is SubtaskStatus.COMPLETED for subtask in subtasks) // len(subtasks)


def _changed_subtasks(before: list[Subtask], changes: list[SubtaskChange], now: datetime) -> list[Subtask]:
    numbered = {subtask.id: subtask for subtask in before}
    added = []
    for change in changes:
        if change.id is None:
            added.append(_added_subtask(change, now))
        elif change.id in numbered:
            numbered[change.id] = _changed_subtask(numbered[change.id], change, now)
        else:
            raise RequestError(ErrorCode.NOT_FOUND, f"The task has no subtask {change.id}.")
    if len(before) + len(added) > MAX_SUBTASKS:
        raise RequestError(ErrorCode.TOO_LARGE, f"A task has {MAX_SUBTASKS} subtasks at most.")
    return [*numbered.values(), *added]


def _added_subtask(change: SubtaskChange, now: datetime) -> Subtask:
    if change.title is None:
        raise RequestError(ErrorCode.INVALID_FRAME, "A new subtask needs a title; to change one, give its id.")
    return _changed_subtask(_new_subtask(change.title, "", now), change, now)


def _new_subtask(title: str, description: str, now: datetime) -> Subtask:
    return Subtask(NEW, title, description, SubtaskStatus.PENDING, now, now, None)


def _changed_subtask(subtask: Subtask, change: SubtaskChange, now: datetime) -> Subtask:
    status = subtask.status if change.status is None else change.status
    check_subtask(subtask.title, subtask.status, status)
    return replace(
        subtask,
        title=subtask.title if change.title is None else change.title,
        description=subtask.description if change.description is None else change.description,
        status=status,
        updated_at=now,
        completed_at=_end(subtask, status, now),
    )


def _end(before: Task | Subtask, status: TaskStatus | SubtaskStatus, now: datetime) -> datetime | None:
    """`completed_at`: set at the end, kept while nothing changes in it, cleared when work goes on."""
    if not status.ended:
        return None
    return before.completed_at if status == before.status else now


def _check_all_ended(task_id: int, subtasks: Sequence[Subtask]) -> None:
    unfinished = [subtask for subtask in subtasks if not subtask.status.ended]
    if unfinished:
        raise conflict(
            f"Task {task_id}: a task with unfinished subtasks cannot become completed; "
            f"“{unfinished[0].title}” is {unfinished[0].status}."
        )
