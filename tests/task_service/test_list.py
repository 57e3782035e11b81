"""Lists: newest first, filtered, in pages that neither lose nor repeat a task."""

import pytest

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import TaskCreate, TaskList, TaskPriority, TaskStatus, TaskUpdate
from services.task_service.store import Store


async def titles(store: Store, asked: TaskList) -> list[str]:
    return [task.title for task in (await store.list_tasks(LOCAL_USER, asked)).tasks]


async def test_pages_follow_each_other_while_tasks_are_made_and_changed(store: Store) -> None:
    """What is new stands before the first page; what changes stays where it is."""
    for number in range(2, 8):
        await store.create(LOCAL_USER, TaskCreate(f"{number}"))
    await store.create("somebody else", TaskCreate("not mine"))
    pages, cursor = [], None
    while True:
        page = await store.list_tasks(LOCAL_USER, TaskList(limit=3, before=cursor))
        pages.append([task.id for task in page.tasks])
        await store.create(LOCAL_USER, TaskCreate("new"))
        await store.update(LOCAL_USER, TaskUpdate(1, progress=1))
        cursor = page.cursor
        if cursor is None:
            break
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


async def test_the_last_full_page_has_no_cursor(store: Store) -> None:
    """Nobody asks for an empty page."""
    assert (await store.list_tasks(LOCAL_USER, TaskList(limit=1))).cursor is None


async def test_a_list_is_filtered_by_status_and_priority(store: Store) -> None:
    """By either, and by both."""
    for title, priority in (("a", TaskPriority.HIGH), ("b", TaskPriority.LOW), ("c", TaskPriority.HIGH)):
        state = await store.create(LOCAL_USER, TaskCreate(title, priority=priority))
        if title != "a":
            await store.update(LOCAL_USER, TaskUpdate(state.task.id, status=TaskStatus.EXECUTING))
    assert await titles(store, TaskList(status=TaskStatus.EXECUTING)) == ["c", "b"]
    assert await titles(store, TaskList(priority=TaskPriority.HIGH)) == ["c", "a"]
    assert await titles(store, TaskList(status=TaskStatus.EXECUTING, priority=TaskPriority.HIGH)) == ["c"]
    assert await titles(store, TaskList(status=TaskStatus.FAILED)) == []


async def test_text_is_found_whatever_its_case_in_title_or_description(store: Store) -> None:
    """In all of Unicode, and `%` and `_` are characters like any other; a changed text is found anew."""
    await store.create(LOCAL_USER, TaskCreate("RELATÓRIO 100%", "Straße"))
    state = await store.create(LOCAL_USER, TaskCreate("other", "ein_wort"))
    for text in ("relatório", "STRASSE", "0%", "rio 1"):
        assert await titles(store, TaskList(text=text)) == ["RELATÓRIO 100%"], text
    assert await titles(store, TaskList(text="N_W")) == ["other"]
    assert await titles(store, TaskList(text="n%w")) == []
    await store.update(LOCAL_USER, TaskUpdate(state.task.id, description="Neu"))
    assert await titles(store, TaskList(text="n_w")) == []
    assert await titles(store, TaskList(text="NEU")) == ["other"]


async def test_a_page_that_would_not_fit_the_bus_is_shorter(store: Store) -> None:
    """And says how to go on."""
    long = "\u0001" * 4000  # 6 bytes each in JSON: 24 KB a task
    for number in range(30):
        await store.create(LOCAL_USER, TaskCreate(f"{number}", long))
    page = await store.list_tasks(LOCAL_USER, TaskList(limit=30))
    assert 1 < len(page.tasks) < 30
    assert page.cursor == str(page.tasks[-1].id)


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "٣", "9" * 19, " 1"])
async def test_a_wrong_cursor_is_refused(store: Store, cursor: str) -> None:
    """As a mistake of the caller."""
    with pytest.raises(RequestError) as caught:
        await store.list_tasks(LOCAL_USER, TaskList(before=cursor))
    assert caught.value.code is ErrorCode.INVALID_FRAME
