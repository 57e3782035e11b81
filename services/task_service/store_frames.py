"""Finished frames, one a change: those not yet known to be published, and the latest ones that are.

Written with the change itself, so that none is lost (an outbox); kept a while, so that who missed one can ask for it.
"""

from collections.abc import Sequence

from msgspec import Raw, Struct
from sqlalchemy import Connection, bindparam, delete, false, insert, select, true
from sqlalchemy import update as sql_update

from libs.contract.tasks import MissedChanges
from libs.database.clock import now_ms
from services.task_service.tables import task_frames

# How long a published frame is kept, and how many of one task: for gaps of moments, not for history.
KEPT_MS = 60 * 60 * 1000
KEPT_REVISIONS = 100
# A page of them is one frame through the bus, which carries 1 MiB.
MAX_PAGE_BYTES = 512 * 1024


class Revision(Struct, frozen=True):
    """Which change of which task."""

    task_id: int
    revision: int


class Unpublished(Revision, frozen=True):
    """The finished `task:update` frame of one change."""

    payload: bytes


_WAITING = (task_frames.c.published == false(), task_frames.c.stored_ms <= now_ms() - bindparam("age_ms"))
_ANY_WAITING = select(task_frames.c.task_id).where(*_WAITING).limit(1)
_OLDEST_WAITING = (
    select(task_frames.c.task_id, task_frames.c.revision, task_frames.c.payload)
    .where(*_WAITING)
    # Of one task, those of earlier revisions were stored earlier: its row was locked.
    .order_by(task_frames.c.stored_ms, task_frames.c.task_id, task_frames.c.revision)
    .with_for_update()
)
_INSERT = insert(task_frames).values(published=False, stored_ms=now_ms())
_THIS = (task_frames.c.task_id == bindparam("task"), task_frames.c.revision == bindparam("this"))
_MARK = sql_update(task_frames).where(*_THIS).values(published=True)
_PUBLISHED = task_frames.c.published == true()
_DELETE_OLD = delete(task_frames).where(_PUBLISHED, task_frames.c.stored_ms < now_ms() - KEPT_MS)
_DELETE_SURPLUS = delete(task_frames).where(
    _PUBLISHED, task_frames.c.task_id == bindparam("task"), task_frames.c.revision <= bindparam("last")
)
_AFTER = (
    select(task_frames.c.revision, task_frames.c.payload)
    .where(task_frames.c.task_id == bindparam("task"), task_frames.c.revision > bindparam("last"))
    .order_by(task_frames.c.revision)
    .limit(KEPT_REVISIONS)
)


def add(db: Connection, task_id: int, revision: int, payload: bytes) -> None:
    db.execute(_INSERT, {"task_id": task_id, "revision": revision, "payload": payload})


def any_waiting(db: Connection, age_ms: int) -> bool:
    """Whether a frame has been unpublished for so long."""
    return db.scalar(_ANY_WAITING, {"age_ms": age_ms}) is not None


def oldest_waiting(db: Connection, age_ms: int, limit: int) -> list[Unpublished]:
    """Locked. Waits for whoever has locked them: to skip those rows would change the order."""
    return [Unpublished(*row) for row in db.execute(_OLDEST_WAITING.limit(limit), {"age_ms": age_ms})]


def mark_published(db: Connection, published: Sequence[Revision]) -> None:
    """They are known to be; of their tasks, only the last `KEPT_REVISIONS` are kept."""
    db.execute(_MARK, [{"task": one.task_id, "this": one.revision} for one in published])
    newest = {one.task_id: one.revision for one in sorted(published, key=lambda one: one.revision)}
    surplus = [
        {"task": task_id, "last": revision - KEPT_REVISIONS}
        for task_id, revision in newest.items()
        if revision > KEPT_REVISIONS
    ]
    if surplus:
        db.execute(_DELETE_SURPLUS, surplus)


def delete_old(db: Connection) -> None:
    """What has been published and is older than `KEPT_MS`."""
    db.execute(_DELETE_OLD)


def missed(db: Connection, task_id: int, newest: int, after: int) -> MissedChanges:
    """The frames after the revision `after` of a task that is at the revision `newest`."""
    found: list[Raw] = []
    room = MAX_PAGE_BYTES
    for revision, payload in db.execute(_AFTER, {"task": task_id, "last": after}):
        room -= len(payload)
        if revision != after + len(found) + 1 or (found and room < 0):
            break
        found.append(Raw(payload))
    return MissedChanges(found, complete=bool(found) or after >= newest)
