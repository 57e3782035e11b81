"""The outbox: frames that are committed and not yet known to be published, oldest first.

A row's id is given while its task is locked, so of one task ids rise with revisions.
"""

from msgspec import Struct
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.task_service.tables import outbox


class Unpublished(Struct, frozen=True):
    """One row: the finished `task:update` frame of one change."""

    id: int
    task_id: int
    payload: bytes


_INSERT = insert(outbox)
_ANY = select(outbox.c.id).limit(1)
_OLDEST = select(outbox.c.id, outbox.c.task_id, outbox.c.payload).order_by(outbox.c.id).with_for_update()


async def add_row(db: AsyncConnection, task_id: int, revision: int, payload: bytes) -> None:
    await db.execute(_INSERT, {"task_id": task_id, "revision": revision, "payload": payload})


async def has_rows(db: AsyncConnection) -> bool:
    return await db.scalar(_ANY) is not None


async def oldest_locked(db: AsyncConnection, limit: int) -> list[Unpublished]:
    """Waits for whoever has locked them: to skip those rows would change the order."""
    return [Unpublished(*row) for row in await db.execute(_OLDEST.limit(limit))]


async def delete_rows(db: AsyncConnection, ids: list[int]) -> None:
    await db.execute(delete(outbox).where(outbox.c.id.in_(ids)))
