"""Conversations: opened once, listed without gaps, renamed, deleted with all they hold."""

import asyncio
import base64

import pytest

from libs.contract.chat import Conversation
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from services.chat_worker.records import NewRequest
from services.chat_worker.store import Store

OWNER = "ana"


async def test_a_created_conversation_is_listed_as_it_was_returned(store: Store) -> None:
    """Emoji and accents in its title included."""
    created = await store.create_conversation(OWNER, title="Férias em São João 🏖️")
    assert (await store.list_conversations(OWNER, limit=50)).conversations == [created]
    assert str(created.created_at.tzinfo) == "UTC"


async def test_the_same_creation_at_once_through_two_workers_opens_one_conversation(
    stores: tuple[Store, Store],
) -> None:
    """All are given the same."""
    created = await asyncio.gather(
        *(stores[i % 2].create_conversation(OWNER, title="x", request_id="r1") for i in range(10))
    )
    assert created == [created[0]] * 10
    assert (await stores[0].list_conversations(OWNER, limit=50)).conversations == [created[0]]


async def test_without_a_request_id_every_creation_counts(store: Store) -> None:
    """Nothing says that they are the same."""
    first = await store.create_conversation(OWNER)
    second = await store.create_conversation(OWNER)
    assert first.id != second.id
    assert first.title == second.title == "New conversation"


async def test_pages_hold_every_conversation_once_also_where_times_are_equal(store: Store) -> None:
    """Seven made as fast as possible, so that some share their millisecond."""
    made = [(await store.create_conversation(OWNER)).id for _ in range(7)]
    for limit in (1, 2, 3, 7, 8):
        assert [one.id for one in await all_pages(store, limit)] == made[::-1]


async def all_pages(store: Store, limit: int) -> list[Conversation]:
    listed: list[Conversation] = []
    cursor: str | None = None
    for _ in range(10):
        page = await store.list_conversations(OWNER, limit=limit, before=cursor)
        assert len(page.conversations) <= limit
        listed += page.conversations
        cursor = page.cursor
        if cursor is None:
            return listed
        assert len(cursor) <= 64
    raise AssertionError("the list has no end")


async def test_a_cursor_that_is_not_ours_is_an_invalid_frame(store: Store) -> None:
    """A sentence, never a trace."""
    disguised = [b"1.2.3", b"a.b", b"1.", b"9" * 40 + b".1", b"1." + b"9" * 30]
    for cursor in ["", "x", "ção", "MTIz", *(base64.b64encode(bad).decode() for bad in disguised)]:
        with pytest.raises(RequestError) as caught:
            await store.list_conversations(OWNER, limit=5, before=cursor)
        assert caught.value.code == ErrorCode.INVALID_FRAME


async def test_renaming_gives_the_conversation_with_its_new_title(store: Store) -> None:
    """The same title twice is no error either."""
    created = await store.create_conversation(OWNER, title="old")
    renamed = await store.rename_conversation(OWNER, created.id, "novo título 🎉")
    assert renamed == Conversation(created.id, "novo título 🎉", created.created_at, created.updated_at)
    assert await store.rename_conversation(OWNER, created.id, "novo título 🎉") == renamed


async def test_deleting_takes_the_messages_along_and_names_the_unfinished_answers(store: Store) -> None:
    """So that the caller can stop whoever still runs them."""
    created = await store.create_conversation(OWNER)
    running, waiting, cancelled = [
        await store.record(NewRequest(OWNER, f"r{number}", created.id, "Olá")) for number in range(3)
    ]
    await store.claim(running.answer.id, worker="w", lease_ms=60_000, max_attempts=5)
    await store.cancel(OWNER, message_id=cancelled.answer.id)
    assert await store.delete_conversation(OWNER, created.id) == [running.answer.id, waiting.answer.id]
    for message in (running.user, running.answer, cancelled.answer):
        with pytest.raises(RequestError):
            await store.answer(message.id)
    assert (await store.list_conversations(OWNER, limit=50)).conversations == []


async def test_ids_are_not_given_twice(store: Store) -> None:
    """Clients remember them, also those of what was deleted."""
    created = await store.create_conversation(OWNER)
    recorded = await store.record(NewRequest(OWNER, "r1", created.id, "Olá"))
    await store.delete_conversation(OWNER, created.id)
    again = await store.record(NewRequest(OWNER, "r1", None, "Olá"))
    assert again.user.conversation_id > created.id
    assert again.user.id > recorded.answer.id


async def test_a_request_that_races_with_the_deletion_is_refused_or_deleted(stores: tuple[Store, Store]) -> None:
    """Nothing of a deleted conversation is left over."""
    created = await stores[0].create_conversation(OWNER)
    recorded, deleted = await asyncio.gather(
        stores[0].record(NewRequest(OWNER, "r1", created.id, "Olá")),
        stores[1].delete_conversation(OWNER, created.id),
        return_exceptions=True,
    )
    assert not isinstance(deleted, BaseException)
    if isinstance(recorded, BaseException):
        assert isinstance(recorded, RequestError)
        assert (recorded.code, deleted) == (ErrorCode.NOT_FOUND, [])
    else:
        assert deleted == [recorded.answer.id]


async def test_what_is_unknown_or_somebody_elses_is_not_found(store: Store) -> None:
    """Neither renamed nor deleted."""
    for owner, conversation_id in ((OWNER, 1), (LOCAL_USER, 4711)):
        for attempt in (
            store.rename_conversation(owner, conversation_id, "mine"),
            store.delete_conversation(owner, conversation_id),
        ):
            with pytest.raises(RequestError) as caught:
                await attempt
            assert caught.value.code == ErrorCode.NOT_FOUND
    assert [one.title for one in (await store.list_conversations(LOCAL_USER, limit=50)).conversations] == [
        "First conversation"
    ]
