"""Frames that are kept after they were published, for those who missed them."""

import msgspec
import pytest
from sqlalchemy import text

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import MissedChanges, NewSubtask, TaskChanges, TaskCreate, TaskState, TaskUpdate
from libs.database.engine import opened_engine
from services.task_service.store import Store
from services.task_service.store_frames import KEPT_MS, KEPT_REVISIONS, MAX_PAGE_BYTES, Revision
from tests.task_service.outboxes import take_all, update


async def missed(store: Store, after: int, task_id: int = 1) -> MissedChanges:
    return await store.missed(LOCAL_USER, TaskChanges(task_id, after))


def states(changes: MissedChanges) -> list[TaskState]:
    return [update(bytes(frame)) for frame in changes.frames]


async def frames_of(url: str, task_id: int) -> list[int]:
    """The revisions whose frames are stored."""
    query = text("SELECT revision FROM task_frames WHERE task_id = :task ORDER BY revision")
    async with opened_engine(url) as engine, engine.connect() as connection:
        return list(await connection.scalars(query, {"task": task_id}))


async def test_missed_changes_come_as_they_were_told(stores: tuple[Store, Store]) -> None:
    """Published or not, from any service: oldest first, without gap."""
    changed = [await stores[0].update(LOCAL_USER, TaskUpdate(1, progress=number)) for number in range(5)]
    await stores[0].mark_published([Revision(1, revision) for revision in (2, 3, 4)])
    found = await missed(stores[1], after=3)
    assert (states(found), found.complete) == (changed[2:], True)


async def test_who_has_missed_nothing_is_told_so(store: Store) -> None:
    """Also when it knows a revision that this database does not."""
    changed = await store.update(LOCAL_USER, TaskUpdate(1, progress=1))
    assert await missed(store, after=changed.revision) == MissedChanges([], complete=True)
    assert await missed(store, after=changed.revision + 1) == MissedChanges([], complete=True)


async def test_what_is_no_longer_kept_is_said(store: Store) -> None:
    """Task 1 was there before any frame was: its first is not among them."""
    await store.update(LOCAL_USER, TaskUpdate(1, progress=1))
    assert await missed(store, after=0) == MissedChanges([], complete=False)


async def test_a_page_is_one_message_of_the_bus(store: Store) -> None:
    """What does not fit is asked for after the last one."""
    large = TaskCreate("t", "d" * 4000, subtasks=[NewSubtask("s", "é" * 4000) for _ in range(25)])
    task = (await store.create(LOCAL_USER, large)).task.id
    for number in range(3):
        await store.update(LOCAL_USER, TaskUpdate(task, title=f"{number}"))
    first = await missed(store, 0, task)
    assert [state.revision for state in states(first)] == [1, 2]
    assert sum(len(bytes(frame)) for frame in first.frames) <= MAX_PAGE_BYTES
    assert len(msgspec.json.encode(first)) < 1024**2 - 4096
    assert [state.revision for state in states(await missed(store, 2, task))] == [3, 4]


async def test_of_one_task_the_latest_frames_are_kept(store: Store, task_url: str) -> None:
    """The others go when a newer one has been published; another task's stay."""
    other = (await store.create(LOCAL_USER, TaskCreate("other"))).task.id
    for number in range(KEPT_REVISIONS + 3):
        await store.update(LOCAL_USER, TaskUpdate(1, progress=number % 100))
    assert len(await frames_of(task_url, 1)) == KEPT_REVISIONS + 3, "what is not published was deleted"
    await take_all(store)
    assert await frames_of(task_url, 1) == list(range(5, KEPT_REVISIONS + 5))
    assert await frames_of(task_url, other) == [1]
    assert len((await missed(store, after=4)).frames) == KEPT_REVISIONS
    assert await missed(store, after=3) == MissedChanges([], complete=False)


async def test_old_frames_go_once_they_are_published(store: Store, task_url: str) -> None:
    """After an hour; what nobody was told yet stays, however old."""
    for number in range(3):
        await store.update(LOCAL_USER, TaskUpdate(1, progress=number))
    await store.mark_published([Revision(1, 2), Revision(1, 4)])
    async with opened_engine(task_url) as engine, engine.begin() as connection:
        await connection.execute(
            text("UPDATE task_frames SET stored_ms = stored_ms - :age WHERE revision < 4"), {"age": KEPT_MS}
        )
    await store.delete_old_frames()
    assert await frames_of(task_url, 1) == [3, 4]


async def test_somebody_elses_changes_cannot_be_asked_for(store: Store) -> None:
    """Nor those of a task that does not exist."""
    for owner, task in (("somebody else", 1), (LOCAL_USER, 4711)):
        with pytest.raises(RequestError) as caught:
            await store.missed(owner, TaskChanges(task, 1))
        assert caught.value.code is ErrorCode.NOT_FOUND
