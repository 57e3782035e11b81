"""Many changes at the same moment, by two services: revisions without a gap, one event and one update for each."""

import asyncio

from sqlalchemy import text

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import NewSubtask, SubtaskChange, TaskCreate, TaskState, TaskStatus, TaskUpdate
from libs.database.engine import opened_engine
from services.task_service.store import Store
from tests.task_service.outboxes import take_all

CHANGES = 40


async def test_revisions_have_no_gap_whoever_changes_a_task(stores: tuple[Store, Store], task_url: str) -> None:
    """Forty changes at once: each gets a revision of its own, an event, and an update that tells that very state."""
    changed = await asyncio.gather(
        *(stores[i % 2].update(LOCAL_USER, TaskUpdate(1, title=f"change {i}")) for i in range(CHANGES))
    )
    assert sorted(state.revision for state in changed) == list(range(2, CHANGES + 2))
    assert await events(task_url) == [(1, revision) for revision in range(1, CHANGES + 2)]
    # In the outbox they stand in the order of their revisions, each as its caller was told.
    assert await take_all(stores[0]) == sorted(changed, key=lambda state: state.revision)


async def test_what_is_said_of_a_task_never_runs_backwards(stores: tuple[Store, Store]) -> None:
    """Time stamps of one task follow its revisions, also when two services write them."""
    changed = await asyncio.gather(
        *(stores[i % 2].update(LOCAL_USER, TaskUpdate(1, progress=i)) for i in range(CHANGES))
    )
    stamps = [state.timestamp for state in sorted(changed, key=lambda state: state.revision)]
    assert stamps == sorted(stamps)


async def test_of_many_changes_based_on_one_revision_one_wins(stores: tuple[Store, Store]) -> None:
    """The others are told of the conflict."""
    results = await asyncio.gather(
        *(stores[i % 2].update(LOCAL_USER, TaskUpdate(1, progress=i, revision=1)) for i in range(10)),
        return_exceptions=True,
    )
    won = [result for result in results if isinstance(result, TaskState)]
    lost = [result.code for result in results if isinstance(result, RequestError)]
    assert (len(won), lost) == (1, [ErrorCode.CONFLICT] * 9)
    assert await stores[0].get(LOCAL_USER, 1) == won[0]


async def test_the_same_create_at_once_makes_one_task(stores: tuple[Store, Store]) -> None:
    """Whichever service it reaches; all are told of the same task."""
    for number in range(4):  # again and again: the first time, the callers only connect one after the other
        asked = TaskCreate("t", request_id=f"r{number}", subtasks=[NewSubtask("one")])
        made = await asyncio.gather(*(stores[i % 2].create(LOCAL_USER, asked) for i in range(8)))
        assert made == [made[0]] * 8
        assert await take_all(stores[0]) == [made[0]]


async def test_the_same_update_at_once_is_one_change(stores: tuple[Store, Store]) -> None:
    """One revision, one update."""
    asked = TaskUpdate(1, status=TaskStatus.EXECUTING, request_id="r1")
    changed = await asyncio.gather(*(stores[i % 2].update(LOCAL_USER, asked) for i in range(10)))
    assert [state.revision for state in changed] == [2] * 10
    assert await take_all(stores[1]) == [changed[0]]


async def test_the_same_request_id_for_two_tasks_at_once_changes_one(stores: tuple[Store, Store]) -> None:
    """The other caller is told of the mistake, and its task keeps its revision."""
    other = (await stores[0].create(LOCAL_USER, TaskCreate("other"))).task.id
    results = await asyncio.gather(
        *(
            stores[i % 2].update(LOCAL_USER, TaskUpdate((1, other)[i % 2], progress=9, request_id="r"))
            for i in range(2)
        ),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["RequestError", "TaskState"]
    assert sorted([(await stores[0].get(LOCAL_USER, task)).revision for task in (1, other)]) == [1, 2]


async def test_a_reader_never_sees_half_a_change(stores: tuple[Store, Store]) -> None:
    """Task and subtasks are always those of one revision, while another service changes both."""
    state = await stores[0].create(LOCAL_USER, TaskCreate("0", subtasks=[NewSubtask("0")]))
    task, subtask = state.task.id, state.subtasks[0].id
    seen = []

    async def change() -> None:
        for number in range(1, 20):
            await stores[0].update(
                LOCAL_USER, TaskUpdate(task, title=f"{number}", subtasks=[SubtaskChange(subtask, title=f"{number}")])
            )

    changing = asyncio.create_task(change())
    while not changing.done():
        seen.append(await stores[1].get(LOCAL_USER, task))
    await changing
    assert [one.task.title for one in seen] == [one.subtasks[0].title for one in seen]
    assert len({one.revision for one in seen}) > 1, "nothing was read while it changed"


async def events(url: str) -> list[tuple[int, int]]:
    """All of task 1, as they stand in the database."""
    query = text("SELECT task_id, revision FROM task_events WHERE task_id = 1 ORDER BY revision")
    async with opened_engine(url) as engine, engine.connect() as connection:
        return [(row[0], row[1]) for row in await connection.execute(query)]
