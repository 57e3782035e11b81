"""Reading a conversation: pages for people, context for the model."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.contract.chat import MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from libs.database.engine import opened_engine
from services.chat_worker import tables
from services.chat_worker.records import Claimed, HistoryPage, NewRequest, Outcome, Recorded
from services.chat_worker.store import Store
from services.chat_worker.store_conversations import present
from services.chat_worker.store_reading import MAX_PAGE_BYTES, page_query


@pytest.fixture
async def engine(chat_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened_engine(chat_url) as engine:
        yield engine


async def ask(store: Store, request_id: str, content: str = "Olá") -> Recorded:
    return await store.record(NewRequest(LOCAL_USER, request_id, 1, content))


async def chat(
    store: Store, request_id: str, content: str, reply: str, status: MessageStatus = MessageStatus.COMPLETE
) -> Recorded:
    recorded = await ask(store, request_id, content)
    await end(store, recorded, Outcome(status=status, content=reply))
    return recorded


async def end(store: Store, recorded: Recorded, outcome: Outcome) -> None:
    claimed = await store.claim(recorded.answer.id, worker="w", lease_ms=60_000, max_attempts=5)
    assert isinstance(claimed, Claimed)
    await store.finish(claimed.answer, outcome)


def contents(page: HistoryPage) -> list[str]:
    return [message.content for message in page.messages]


async def test_history_is_oldest_first_and_pages_backwards(store: Store) -> None:
    """Three pages of two make up the five messages and an end."""
    for number in range(3):
        await chat(store, f"r{number}", f"question {number}", f"answer {number}")
    last = await store.history(LOCAL_USER, 1, limit=2)
    middle = await store.history(LOCAL_USER, 1, limit=2, before=last.messages[0].id)
    first = await store.history(LOCAL_USER, 1, limit=2, before=middle.messages[0].id)
    assert [contents(page) for page in (first, middle, last)] == [
        [f"question {number}", f"answer {number}"] for number in range(3)
    ]
    assert [page.has_more for page in (first, middle, last)] == [False, True, True]


async def test_an_answer_in_progress_is_told_apart(store: Store) -> None:
    """It has no text to show yet; another tab needs its id to join it."""
    recorded = await ask(store, "r1")
    waiting = await ask(store, "r2", "e depois?")
    await store.claim(recorded.answer.id, worker="w", lease_ms=60_000, max_attempts=5)
    page = await store.history(LOCAL_USER, 1, limit=50)
    assert [message.id for message in page.messages] == [recorded.user.id, waiting.user.id]
    assert page.answering == await store.answer(recorded.answer.id)


async def test_without_an_id_it_is_the_conversation_used_last(store: Store) -> None:
    """Old clients ask so."""
    await ask(store, "r1")
    other = await store.record(NewRequest(LOCAL_USER, "r2", None, "Oi"))
    page = await store.history(LOCAL_USER, None, limit=50)
    assert page.conversation_id == other.user.conversation_id
    assert contents(page) == ["Oi"]


async def test_a_fresh_installation_holds_conversation_one(store: Store) -> None:
    """Empty, but there."""
    assert await store.history(LOCAL_USER, 1, limit=50) == HistoryPage(1, [], has_more=False, answering=None)
    assert await store.history(LOCAL_USER, None, limit=50) == HistoryPage(1, [], has_more=False, answering=None)


async def test_somebody_without_conversations_gets_an_empty_page(store: Store) -> None:
    """That is no error."""
    assert await store.history("new-here", None, limit=50) == HistoryPage(None, [], has_more=False, answering=None)


@pytest.mark.parametrize(("owner", "conversation_id"), [(LOCAL_USER, 4711), ("somebody-else", 1)])
async def test_an_unknown_or_foreign_conversation_is_not_found(store: Store, owner: str, conversation_id: int) -> None:
    """The same error for both."""
    with pytest.raises(RequestError) as caught:
        await store.history(owner, conversation_id, limit=50)
    assert caught.value.code == ErrorCode.NOT_FOUND


async def test_a_page_ends_at_512_kib_of_text(store: Store) -> None:
    """Counted in bytes, not characters: three messages of 200 KiB in four-byte characters, two fit."""
    text_200_kib = "😀" * (200 * 1024 // 4)
    for number in range(3):
        await ask(store, f"r{number}", text_200_kib)
    page = await store.history(LOCAL_USER, 1, limit=50)
    assert (len(page.messages), page.has_more) == (2, True)
    rest = await store.history(LOCAL_USER, 1, limit=50, before=page.messages[0].id)
    assert (len(rest.messages), rest.has_more) == (1, False)


async def test_a_page_holds_at_least_one_message(store: Store) -> None:
    """However long: else nobody could ever page past it. Reasoning counts too."""
    await ask(store, "r0", "before")
    long = await ask(store, "r1", "x")
    await store.cancel(LOCAL_USER, request_id="r0")
    outcome = Outcome(status=MessageStatus.COMPLETE, content="x", reasoning="r" * MAX_PAGE_BYTES)
    await end(store, long, outcome)
    page = await store.history(LOCAL_USER, 1, limit=50)
    assert ([message.id for message in page.messages], page.has_more) == ([long.answer.id], True)


async def test_the_context_is_what_was_really_said_newest_first(store: Store) -> None:
    """Answers that failed, that were cut off without a word, or that are still to come are left out."""
    await chat(store, "r1", "one", "complete")
    await chat(store, "r2", "two", "half", MessageStatus.CANCELLED)
    await chat(store, "r3", "three", "half", MessageStatus.INTERRUPTED)
    await chat(store, "r4", "four", "partial", MessageStatus.ERROR)
    await chat(store, "r5", "five", "", MessageStatus.CANCELLED)
    last = await ask(store, "r6", "six")
    assert await store.context(1, before_message_id=last.answer.id, limit=50) == [
        (Role.USER, "six"),
        (Role.USER, "five"),
        (Role.USER, "four"),
        (Role.ASSISTANT, "half"),
        (Role.USER, "three"),
        (Role.ASSISTANT, "half"),
        (Role.USER, "two"),
        (Role.ASSISTANT, "complete"),
        (Role.USER, "one"),
    ]
    assert await store.context(1, before_message_id=last.user.id, limit=2) == [
        (Role.USER, "five"),
        (Role.USER, "four"),
    ]


async def test_a_page_deep_in_a_long_conversation_is_found_by_the_index(engine: AsyncEngine) -> None:
    """The plan names the index and sorts nothing, so the hundredth page costs what the first does."""
    await store_messages(engine, conversations=20, each=200)
    query = page_query(10, 51, 2000).compile(engine.sync_engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    async with engine.connect() as connection:
        plan = str([dict(row) for row in (await connection.execute(text(f"{explain} {query}"))).mappings()])
    assert "ix_messages_conversation_id_id" in plan
    for sign_of_sorting in ("TEMP B-TREE", "filesort", "temporary", "SCAN messages", "'type': 'ALL'"):
        assert sign_of_sorting not in plan


async def store_messages(engine: AsyncEngine, *, conversations: int, each: int) -> None:
    """Messages of many conversations in turn, as they would come."""
    now = present()
    row = {"role": Role.USER, "status": MessageStatus.COMPLETE, "content": "x", "epoch": 0}
    times = {"created_at": now, "updated_at": now}
    opened = [{"id": number, "owner": "many", "title": "x", **times} for number in range(2, conversations + 1)]
    rows = [
        {**row, **times, "conversation_id": conversation_id, "request_id": f"r{number}"}
        for number in range(each)
        for conversation_id in range(1, conversations + 1)
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(tables.conversations), opened)
        await connection.execute(insert(tables.messages), rows)
        await connection.execute(text("ANALYZE" if engine.dialect.name == "sqlite" else "ANALYZE TABLE messages"))
