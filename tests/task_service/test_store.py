"""What the store keeps: tasks as they were asked for, on SQLite and MariaDB alike."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from libs.contract import frames
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import (
    NewSubtask,
    SubtaskChange,
    SubtaskStatus,
    TaskCreate,
    TaskPriority,
    TaskStatus,
    TaskUpdate,
)
from services.task_service.store import Store
from services.task_service.store_changes import MAX_FRAME_BYTES
from tests.task_service.outboxes import take_all

# Outside the Basic Multilingual Plane, combining, right to left, a NUL, quotes.
UNICODE = "Relatório 👩‍🚀 e\u0301 שלום \x00 '\"\\%_"


async def test_a_fresh_database_holds_task_one(store: Store) -> None:
    """Older clients expect to subscribe to it."""
    state = await store.get(LOCAL_USER, 1)
    task = state.task
    assert (task.id, task.title, task.status, task.priority, task.progress, task.completed_at, state.revision) == (
        1,
        "First task",
        TaskStatus.PENDING,
        TaskPriority.MEDIUM,
        0,
        None,
        1,
    )
    assert state.subtasks == []


async def test_what_create_returns_is_what_is_stored(stores: tuple[Store, Store]) -> None:
    """Whole values, Unicode and order of subtasks included, seen by another process."""
    asked = TaskCreate(
        UNICODE, f"{UNICODE}\n" * 50, TaskPriority.URGENT, [NewSubtask(f"{UNICODE} {i}", UNICODE) for i in range(20)]
    )
    before = datetime.now(UTC).replace(microsecond=0)
    state = await stores[0].create(LOCAL_USER, asked)
    assert await stores[1].get(LOCAL_USER, state.task.id) == state
    assert (state.task.title, state.task.description, state.task.priority) == (
        asked.title,
        asked.description,
        asked.priority,
    )
    assert [subtask.title for subtask in state.subtasks] == [subtask.title for subtask in asked.subtasks]
    assert state.revision == 1
    assert before <= state.task.created_at == state.task.updated_at == state.timestamp <= datetime.now(UTC)


async def test_what_update_returns_is_what_is_stored(stores: tuple[Store, Store]) -> None:
    """Every field, a changed subtask and a new one."""
    state = await stores[0].create(LOCAL_USER, TaskCreate("t", subtasks=[NewSubtask("one"), NewSubtask("two")]))
    one, two = state.subtasks
    after = await stores[1].update(
        LOCAL_USER,
        TaskUpdate(
            state.task.id,
            title=UNICODE,
            description="d",
            status=TaskStatus.EXECUTING,
            priority=TaskPriority.LOW,
            subtasks=[SubtaskChange(two.id, status=SubtaskStatus.EXECUTING), SubtaskChange(title="three")],
        ),
    )
    assert await stores[0].get(LOCAL_USER, state.task.id) == after
    assert after.revision == 2
    assert after.task == replace(
        state.task,
        title=UNICODE,
        description="d",
        status=TaskStatus.EXECUTING,
        priority=TaskPriority.LOW,
        updated_at=after.timestamp,
    )
    assert after.subtasks[:2] == [one, replace(two, status=SubtaskStatus.EXECUTING, updated_at=after.timestamp)]
    assert [(subtask.title, subtask.status) for subtask in after.subtasks[2:]] == [("three", SubtaskStatus.PENDING)]
    assert len({subtask.id for subtask in after.subtasks}) == 3


async def test_a_refused_change_changes_nothing(store: Store) -> None:
    """Neither the task nor its subtasks, nor is there an update to publish."""
    before = await store.create(LOCAL_USER, TaskCreate("t", subtasks=[NewSubtask("one")]))
    await take_all(store)
    refused = TaskUpdate(
        before.task.id,
        title="new",
        subtasks=[SubtaskChange(before.subtasks[0].id, title="new"), SubtaskChange(4711, title="unknown")],
    )
    assert await refusal(store, refused) is ErrorCode.NOT_FOUND
    assert await store.get(LOCAL_USER, before.task.id) == before
    assert not await store.has_unpublished()


async def test_a_subtask_of_another_task_is_unknown(store: Store) -> None:
    """Its id alone opens no way to it."""
    other = await store.create(LOCAL_USER, TaskCreate("other", subtasks=[NewSubtask("one")]))
    change = TaskUpdate(1, subtasks=[SubtaskChange(other.subtasks[0].id, title="mine")])
    assert await refusal(store, change) is ErrorCode.NOT_FOUND


async def test_somebody_elses_task_does_not_exist(store: Store) -> None:
    """Neither to read nor to change."""
    with pytest.raises(RequestError) as caught:
        await store.get("somebody else", 1)
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert await refusal(store, TaskUpdate(1, title="mine"), owner="somebody else") is ErrorCode.NOT_FOUND


async def test_a_change_of_an_older_revision_is_refused(store: Store) -> None:
    """When the caller says on which revision it is based."""
    await store.update(LOCAL_USER, TaskUpdate(1, progress=10, revision=1))
    assert await refusal(store, TaskUpdate(1, progress=20, revision=1)) is ErrorCode.CONFLICT
    assert (await store.get(LOCAL_USER, 1)).task.progress == 10


async def test_a_task_that_fits_no_frame_is_refused(store: Store) -> None:
    """The bus could not carry its update."""
    big = TaskCreate("t", subtasks=[NewSubtask(f"{i}", "\u0001" * 4000) for i in range(20)])
    with pytest.raises(RequestError) as caught:
        await store.create(LOCAL_USER, big)
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert not await store.has_unpublished()


async def test_a_task_at_its_limit_can_still_be_ended(store: Store) -> None:
    """A status is longer than the one before, and an end has a time."""
    created = await store.create(LOCAL_USER, TaskCreate("t", subtasks=[NewSubtask("s", "x" * 4000)] * 62))
    room = MAX_FRAME_BYTES - len(frames.encode("task:update", created))
    full = await store.update(LOCAL_USER, TaskUpdate(created.task.id, description="x" * (room - 10)))
    assert await refusal(store, TaskUpdate(full.task.id, description="x" * (room + 30))) is ErrorCode.TOO_LARGE
    cancelled = await store.update(LOCAL_USER, TaskUpdate(full.task.id, status=TaskStatus.CANCELLED))
    assert len(frames.encode("task:update", cancelled)) > MAX_FRAME_BYTES


# ---- Repeats ----------------------------------------------------------------------------------------------------


async def test_a_repeated_create_gives_the_same_task(stores: tuple[Store, Store]) -> None:
    """As it stands by then."""
    asked = TaskCreate("t", request_id="r1")
    first = await stores[0].create(LOCAL_USER, asked)
    changed = await stores[0].update(LOCAL_USER, TaskUpdate(first.task.id, progress=50))
    assert await stores[1].create(LOCAL_USER, asked) == changed


async def test_a_repeated_update_changes_nothing(stores: tuple[Store, Store]) -> None:
    """Also when the task has moved on, so that the same change would be illegal now."""
    asked = TaskUpdate(1, status=TaskStatus.PLANNING, revision=1, request_id="r1")
    await stores[0].update(LOCAL_USER, asked)
    moved = await stores[0].update(LOCAL_USER, TaskUpdate(1, status=TaskStatus.EXECUTING))
    assert await stores[1].update(LOCAL_USER, asked) == moved


async def test_a_request_id_belongs_to_one_request(store: Store) -> None:
    """Used for another command or another task, it is a mistake and is said so."""
    other = await store.create(LOCAL_USER, TaskCreate("t", request_id="created"))
    await store.update(LOCAL_USER, TaskUpdate(1, progress=1, request_id="updated"))
    assert await refusal(store, TaskUpdate(1, progress=2, request_id="created")) is ErrorCode.CONFLICT
    assert await refusal(store, TaskUpdate(other.task.id, progress=2, request_id="updated")) is ErrorCode.CONFLICT
    somebody = await store.create("somebody else", TaskCreate("t", request_id="updated"))
    assert somebody.task.id != other.task.id


async def refusal(store: Store, asked: TaskUpdate, *, owner: str = LOCAL_USER) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        await store.update(owner, asked)
    return caught.value.code
