"""Writing a change: the task by compare-and-set, its event and its frame, all in one transaction."""

from datetime import datetime

import msgspec
from msgspec.structs import asdict, replace
from sqlalchemy import Connection, bindparam, insert, select
from sqlalchemy import update as sql_update

from libs.contract import frames
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import Subtask, TaskCreate, TaskState, TaskUpdate
from services.task_service import changes, store_frames, store_reading
from services.task_service.tables import subtasks, task_events, tasks
from services.task_service.transitions import conflict

# A task is one frame through the bus, which carries 1 MiB, to clients for which 1 MiB may wait.
MAX_FRAME_BYTES = 256 * 1024
# On top, for changes that bring no text: a task at its limit can still be ended, with a hundred subtasks.
ENDING_BYTES = 16 * 1024

_INSERT_TASK = insert(tasks)
_INSERT_SUBTASK = insert(subtasks)
_INSERT_EVENT = insert(task_events)
_EVENT_OF_REQUEST = select(task_events.c.task_id, task_events.c.command).where(
    task_events.c.owner == bindparam("of"), task_events.c.request_id == bindparam("request")
)
_UPDATE_TASK = sql_update(tasks).where(tasks.c.id == bindparam("this"), tasks.c.revision == bindparam("expected"))
_UPDATE_SUBTASK = sql_update(subtasks).where(subtasks.c.id == bindparam("this"))


def create(db: Connection, owner: str, asked: TaskCreate, now: datetime) -> TaskState:
    """See `Store.create`. `IntegrityError` if the same request is carried out at this moment."""
    done = _task_of_request(db, owner, asked.request_id, "create")
    if done is not None:
        return store_reading.existing_task(db, owner, done)
    state = changes.created(asked, now)
    result = db.execute(_INSERT_TASK, {**_task_row(state), "owner": owner})
    state = replace(state, task=replace(state.task, id=result.lastrowid))
    return _recorded(db, owner, [], state, "create", asked)


def update(db: Connection, owner: str, asked: TaskUpdate, command: str, now: datetime) -> TaskState:
    """See `Store.update`. `IntegrityError` if the same request is carried out at this moment on another task."""
    before = store_reading.existing_task(db, owner, asked.task_id, for_update=True)
    done = _task_of_request(db, owner, asked.request_id, command)
    if done is not None:
        if done != asked.task_id:
            raise conflict(f"The request {asked.request_id!r} has changed task {done} before.")
        return before
    after = changes.changed(before, asked, now)
    row = {**_task_row(after), "this": after.task.id, "expected": before.revision}
    result = db.execute(_UPDATE_TASK, row)
    if result.rowcount != 1:
        # Cannot be while the row is locked; said rather than trusted, since the revision must have no gap.
        raise conflict(f"Task {after.task.id} was changed by somebody else at this moment. Try again.")
    return _recorded(db, owner, before.subtasks, after, command, asked)


def _task_of_request(db: Connection, owner: str, request_id: str | None, command: str) -> int | None:
    """The task that this request has created or changed. Raises `RequestError(conflict)`: it was another command."""
    if request_id is None:
        return None
    row = db.execute(_EVENT_OF_REQUEST, {"of": owner, "request": request_id}).first()
    if row is None:
        return None
    if row.command != command:
        raise conflict(f"The request id {request_id!r} belongs to another request (task:{row.command}).")
    return int(row.task_id)


def _recorded(
    db: Connection,
    owner: str,
    subtasks_before: list[Subtask],
    state: TaskState,
    command: str,
    asked: TaskCreate | TaskUpdate,
) -> TaskState:
    """The state with its subtasks stored and numbered, and the rows that tell of it."""
    before = {subtask.id: subtask for subtask in subtasks_before}
    stored = [_stored_subtask(db, state.task.id, before.get(one.id), one) for one in state.subtasks]
    state = replace(state, subtasks=stored)
    frame = frames.encode("task:update", state)
    if len(frame) > MAX_FRAME_BYTES + (0 if _brings_text(asked) else ENDING_BYTES):
        raise RequestError(
            ErrorCode.TOO_LARGE, f"A task with its subtasks has {MAX_FRAME_BYTES} bytes at most; this has {len(frame)}."
        )
    event = {
        "task_id": state.task.id,
        "revision": state.revision,
        "command": command,
        "owner": owner,
        "request_id": asked.request_id,
        "request": msgspec.json.encode(asked).decode(),
        "created_at": state.timestamp,
    }
    db.execute(_INSERT_EVENT, event)
    store_frames.add(db, state.task.id, state.revision, frame)
    return state


def _stored_subtask(db: Connection, task_id: int, before: Subtask | None, subtask: Subtask) -> Subtask:
    if subtask == before:
        return subtask
    values = asdict(subtask)
    del values["id"]
    if subtask.id == changes.NEW:
        result = db.execute(_INSERT_SUBTASK, {**values, "task_id": task_id})
        return replace(subtask, id=result.lastrowid)
    db.execute(_UPDATE_SUBTASK, {**values, "this": subtask.id})
    return subtask


def _brings_text(asked: TaskCreate | TaskUpdate) -> bool:
    if isinstance(asked, TaskCreate) or asked.title is not None or asked.description is not None:
        return True
    return any(one.title is not None or one.description is not None for one in asked.subtasks)


def _task_row(state: TaskState) -> dict[str, object]:
    values = asdict(state.task)
    del values["id"]
    searched = store_reading.search_text(state.task.title, state.task.description)
    return {**values, "revision": state.revision, "search_text": searched}
