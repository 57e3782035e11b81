"""Reading tasks: one as it stands, and the pages of a list."""

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, func, select

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.tasks import Subtask, Task, TaskList, Tasks, TaskState
from services.task_service.tables import subtasks, tasks

# A page is one frame through the bus, which carries 1 MiB.
MAX_PAGE_BYTES = 512 * 1024

_TASK_COLUMNS = [tasks.c[field] for field in Task.__struct_fields__]
# Made once: to make a statement takes longer than to run it.
_THIS = (tasks.c.id == bindparam("task"), tasks.c.owner == bindparam("of"))
_TASK = select(*_TASK_COLUMNS, tasks.c.revision).where(*_THIS)
# Locked also to read: else the subtasks, the second query, could be those of a later revision.
_TASK_TO_READ, _TASK_TO_CHANGE = _TASK.with_for_update(read=True), _TASK.with_for_update()
_REVISION = select(tasks.c.revision).where(*_THIS)
_SUBTASKS = (
    select(*(subtasks.c[field] for field in Subtask.__struct_fields__))
    .where(subtasks.c.task_id == bindparam("task"))
    .order_by(subtasks.c.id)
)


def existing_task(db: Connection, owner: str, task_id: int, *, for_update: bool = False) -> TaskState:
    """The task with its subtasks; `for_update` keeps everybody else away from it until the transaction ends."""
    query = _TASK_TO_CHANGE if for_update else _TASK_TO_READ
    row = db.execute(query, {"task": task_id, "of": owner}).mappings().first()
    if row is None:
        raise _not_found(task_id)
    found = db.execute(_SUBTASKS, {"task": task_id}).mappings()
    task = msgspec.convert(row, Task)
    return TaskState(task, [msgspec.convert(one, Subtask) for one in found], task.updated_at, row["revision"])


def revision(db: Connection, owner: str, task_id: int) -> int:
    """At which the task is."""
    found: int | None = db.scalar(_REVISION, {"task": task_id, "of": owner})
    if found is None:
        raise _not_found(task_id)
    return found


def _not_found(task_id: int) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, f"There is no task {task_id}.")


def list_tasks(db: Connection, owner: str, asked: TaskList) -> Tasks:
    """See `Store.list_tasks`. With `text`, every task of the owner is looked at."""
    query = (
        select(*_TASK_COLUMNS)
        .where(tasks.c.owner == owner, *_conditions(asked))
        .order_by(tasks.c.id.desc())
        .limit(asked.limit + 1)
    )
    found = [msgspec.convert(row, Task) for row in db.execute(query).mappings()]
    page = _fitting(found[: asked.limit])
    return Tasks(page, str(page[-1].id) if len(page) < len(found) else None)


def search_text(title: str, description: str) -> str:
    """What a list's `text` is looked for in."""
    return f"{title}\n{description}".casefold()


def _conditions(asked: TaskList) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if asked.status is not None:
        conditions.append(tasks.c.status == asked.status)
    if asked.priority is not None:
        conditions.append(tasks.c.priority == asked.priority)
    if asked.text is not None:
        conditions.append(func.instr(tasks.c.search_text, asked.text.casefold()) > 0)
    if asked.before is not None:
        conditions.append(tasks.c.id < _last_id(asked.before))
    return conditions


def _last_id(cursor: str) -> int:
    # Ids have 18 digits at most: more is no cursor of ours, and SQLite cannot even be asked for it.
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise RequestError(ErrorCode.INVALID_FRAME, "`before` is not the cursor of a page of this list.")
    return int(cursor)


def _fitting(found: list[Task]) -> list[Task]:
    """The first tasks that fill a page: always one, however long."""
    page: list[Task] = []
    room = MAX_PAGE_BYTES
    for task in found:
        room -= len(msgspec.json.encode(task))
        if page and room < 0:
            break
        page.append(task)
    return page
