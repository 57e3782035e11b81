"""Unfinished answers whose queue items are gone: found again, each by one worker, with all that was asked."""

import asyncio

from sqlalchemy import text

from libs.contract.chat import ChatOptions, MessageStatus
from libs.contract.ids import LOCAL_USER
from libs.database.engine import opened_engine
from services.chat_worker.records import Checkpoint, NewRequest, Outcome
from services.chat_worker.store import Store

ASKED = NewRequest(LOCAL_USER, "r1", 1, "Olá 👋", "qwen3-8b", ChatOptions(temperature=0.5, stop=["\n\n"]))
PLAIN = NewRequest(LOCAL_USER, "r2", 1, "E depois?")


async def let_time_pass(chat_url: str) -> None:
    """Nothing has happened to any message for a long time."""
    async with opened_engine(chat_url) as engine, engine.begin() as connection:
        await connection.execute(text("UPDATE messages SET updated_at = '2026-01-02 03:04:05.000000'"))


async def take(store: Store) -> list[NewRequest]:
    return await store.take_forgotten(older_than_seconds=30, limit=10)


async def test_what_was_just_asked_is_not_forgotten(store: Store) -> None:
    """Its item is in the queue."""
    await store.record(ASKED)
    assert await take(store) == []


async def test_what_nobody_has_in_hand_is_given_back_as_it_was_asked(store: Store, chat_url: str) -> None:
    """Model and options too; and once only, until it is forgotten again."""
    await store.record(ASKED)
    await let_time_pass(chat_url)
    assert await take(store) == [ASKED]
    assert await take(store) == []
    await let_time_pass(chat_url)
    assert await take(store) == [ASKED]


async def test_two_workers_that_look_at_once_do_not_both_find_it(stores: tuple[Store, Store], chat_url: str) -> None:
    """One item more, not two."""
    await stores[0].record(ASKED)
    await let_time_pass(chat_url)
    found = await asyncio.gather(*(take(store) for store in stores))
    assert sorted(map(len, found)) == [0, 1]


async def test_answers_behind_an_unfinished_one_wait_for_their_turn(store: Store, chat_url: str) -> None:
    """They are found when those before them have ended."""
    first = (await store.record(ASKED)).answer
    await store.record(PLAIN)
    await let_time_pass(chat_url)
    assert await take(store) == [ASKED]
    claimed = await store.claim(first.id, worker="w", lease_ms=60_000, max_attempts=3)
    await store.finish(claimed.answer, Outcome(status=MessageStatus.COMPLETE, content="x"))
    await let_time_pass(chat_url)
    assert await take(store) == [PLAIN]


async def test_an_answer_that_runs_is_not_forgotten(store: Store, chat_url: str) -> None:
    """As long as its lease runs, however long it takes."""
    answer = (await store.record(ASKED)).answer
    await store.claim(answer.id, worker="w", lease_ms=60_000, max_attempts=3)
    await let_time_pass(chat_url)
    assert await take(store) == []
    await store.checkpoint([Checkpoint(answer.id, 1, "half")], lease_ms=0)
    await let_time_pass(chat_url)
    assert await take(store) == [ASKED]
