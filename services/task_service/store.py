"""What the task service remembers: one method, one transaction.

A change is three rows, written together or not at all:

    request ─▶ tasks: revision n ─▶ n + 1 (compare-and-set)
               task_events: (task, n + 1), with the request's id: a repeat finds it and changes nothing
               outbox: the finished frame ─▶ published after the commit, then deleted

Every method raises `DatabaseUnavailable` when the database is away, and `RequestError(not_found)` for what does
not exist or is somebody else's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.contract.tasks import TaskCreate, TaskList, Tasks, TaskState, TaskUpdate
from libs.database.transactions import Work, in_transaction
from libs.database.types import to_milliseconds
from services.task_service import store_changes, store_outbox, store_reading
from services.task_service.store_outbox import Unpublished

T = TypeVar("T")
Turn = AbstractAsyncContextManager[object]


class Store:
    """The task service's database. Safe to use from many tasks, and from many services at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        # SQLite lets its writers wait for each other by sleeping, ever longer; those of one process queue up instead
        # (measured: 10 ms from a request to its update instead of 16). On a server they work side by side.
        self._turn: Turn = asyncio.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    # ---- Changing -----------------------------------------------------------------------------------------------

    async def create(self, owner: str, asked: TaskCreate) -> TaskState:
        """A new task; a repeat of the request gives the same one as it then stands."""
        now = _present()
        return await self._once(lambda db: store_changes.create(db, owner, asked, now))

    async def update(self, owner: str, asked: TaskUpdate, *, command: str = "update") -> TaskState:
        """The task after the change, at its next revision; a repeat of the request gives it as it then stands.

        Raises `RequestError`: `conflict` when the task as it stands does not allow it, `too_large`, `invalid_frame`.
        """
        now = _present()
        return await self._once(lambda db: store_changes.update(db, owner, asked, command, now))

    async def _once(self, change: Work[TaskState]) -> TaskState:
        try:
            return await self._write(change)
        except IntegrityError:
            # The same request was carried out at this very moment; now its event is there to be found.
            return await self._write(change)

    # ---- Reading ------------------------------------------------------------------------------------------------

    async def get(self, owner: str, task_id: int) -> TaskState:
        """The task as it stands."""
        return await in_transaction(
            self._engine, lambda db: store_reading.existing_task(db, owner, task_id), read_only=True
        )

    async def list_tasks(self, owner: str, asked: TaskList) -> Tasks:
        """Newest first. Raises `RequestError(invalid_frame)` if `before` is no cursor of ours."""
        return await in_transaction(self._engine, lambda db: store_reading.list_tasks(db, owner, asked), read_only=True)

    # ---- The outbox ---------------------------------------------------------------------------------------------

    async def has_unpublished(self) -> bool:
        return await in_transaction(self._engine, store_outbox.has_rows, read_only=True)

    async def publish(self, send: Callable[[list[Unpublished]], Awaitable[None]], *, limit: int) -> int:
        """Hands the oldest rows to `send`, in order, and deletes them when it returns. Gives their number.

        Publishers take turns, so that a task's revisions go out in order also when several services change it.
        `send` may be given the same rows again: after a crash, or when it or the database fails.
        """

        async def work(db: AsyncConnection) -> int:
            rows = await store_outbox.oldest_locked(db, limit)
            if rows:
                await send(rows)
                await store_outbox.delete_rows(db, [row.id for row in rows])
            return len(rows)

        return await self._write(work)

    async def _write(self, work: Work[T]) -> T:
        async with self._turn:
            return await in_transaction(self._engine, work)


def _present() -> datetime:
    """Now, as the database will give it back."""
    return to_milliseconds(datetime.now(UTC))
