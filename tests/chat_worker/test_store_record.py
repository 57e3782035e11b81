"""Recording a request: once, whole, in order, whoever asks and however often."""

import asyncio

import pytest

from libs.contract.chat import MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from services.chat_worker.records import NewRequest, Recorded
from services.chat_worker.store import Store

PORTUGUESE = "Olá! Você não comeu pão de açúcar às três? 🥐👩‍👩‍👧‍👦🇧🇷 \u0000 'quote' \\ %s :name"


async def test_a_request_becomes_a_complete_message_and_a_pending_answer(store: Store) -> None:
    """Both rows stand after one call, the answer after the message."""
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", 1, PORTUGUESE))
    assert (recorded.user.role, recorded.user.status, recorded.user.content) == (
        Role.USER,
        MessageStatus.COMPLETE,
        PORTUGUESE,
    )
    assert (recorded.answer.role, recorded.answer.status, recorded.answer.content, recorded.answer.epoch) == (
        Role.ASSISTANT,
        MessageStatus.PENDING,
        "",
        0,
    )
    assert recorded.answer.id > recorded.user.id
    assert recorded.user.conversation_id == recorded.answer.conversation_id == 1


async def test_what_is_returned_is_what_is_stored(store: Store) -> None:
    """Nothing is read back on the fast path, so the test does: text and times survive unchanged."""
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", 1, PORTUGUESE))
    assert await store.answer(recorded.user.id) == recorded.user
    assert await store.answer(recorded.answer.id) == recorded.answer
    assert str(recorded.user.created_at.tzinfo) == "UTC"


async def test_the_same_request_twice_gives_the_same_rows(store: Store) -> None:
    """A repeat finds what the first one stored, also when its text differs."""
    first = await store.record(NewRequest(LOCAL_USER, "r1", 1, "first"))
    again = await store.record(NewRequest(LOCAL_USER, "r1", 1, "second"))
    assert (first.new, again) == (True, Recorded(first.user, first.answer, new=False))


async def test_request_ids_that_differ_in_case_are_different_requests(store: Store) -> None:
    """The database compares ids byte by byte."""
    lower = await store.record(NewRequest(LOCAL_USER, "abc", 1, "x"))
    upper = await store.record(NewRequest(LOCAL_USER, "ABC", 1, "x"))
    assert lower.answer.id != upper.answer.id


async def test_the_same_request_at_once_through_two_workers_gives_the_same_rows(stores: tuple[Store, Store]) -> None:
    """Ten at once, in a conversation that exists: one wins, all are told the same."""
    request = NewRequest(LOCAL_USER, "r1", 1, "Olá")
    recorded = await asyncio.gather(*(stores[i % 2].record(request) for i in range(10)))
    assert {(one.user.id, one.answer.id) for one in recorded} == {(recorded[0].user.id, recorded[0].answer.id)}
    assert sum(one.new for one in recorded) == 1
    page = await stores[0].history(LOCAL_USER, 1, limit=50)
    assert [message.id for message in page.messages] == [recorded[0].user.id]


async def test_the_same_request_at_once_opens_one_conversation(stores: tuple[Store, Store]) -> None:
    """Ten at once without a conversation: one is opened."""
    request = NewRequest(LOCAL_USER, "r1", None, "Olá")
    recorded = await asyncio.gather(*(stores[i % 2].record(request) for i in range(10)))
    assert {(one.user.id, one.answer.id) for one in recorded} == {(recorded[0].user.id, recorded[0].answer.id)}
    assert sum(one.new for one in recorded) == 1
    listed = await stores[0].list_conversations(LOCAL_USER, limit=10)
    assert [conversation.id for conversation in listed.conversations] == [recorded[0].user.conversation_id, 1]


async def test_different_requests_at_once_all_get_through_in_the_order_of_their_ids(
    stores: tuple[Store, Store],
) -> None:
    """Twenty rivals for one conversation: no one is lost, and each answer follows its own message."""
    recorded = await asyncio.gather(
        *(stores[i % 2].record(NewRequest(LOCAL_USER, f"r{i}", 1, f"text {i}")) for i in range(20))
    )
    pairs = sorted((one.user.id, one.answer.id) for one in recorded)
    flat = [message_id for pair in pairs for message_id in pair]
    assert flat == sorted(set(flat))


async def test_a_new_conversation_is_named_after_its_first_message(store: Store) -> None:
    """One line of at most 60 characters, cut where the message is longer."""
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", None, "  Conte-me\n\tuma história  " + "muito " * 50))
    newest = (await store.list_conversations(LOCAL_USER, limit=1)).conversations[0]
    assert newest.id == recorded.user.conversation_id
    assert newest.title.startswith("Conte-me uma história muito muito")
    assert newest.title.endswith("…")
    assert len(newest.title) <= 60


async def test_a_message_without_words_still_gives_a_title(store: Store) -> None:
    """A title is never empty."""
    await store.record(NewRequest(LOCAL_USER, "r1", None, " \n "))
    assert (await store.list_conversations(LOCAL_USER, limit=1)).conversations[0].title == "New conversation"


async def test_a_request_may_use_the_conversation_that_it_created_itself(store: Store) -> None:
    """`conversation:create` and then `chat:send` with one request id: the same conversation."""
    created = await store.create_conversation(LOCAL_USER, request_id="r1")
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", None, "Olá"))
    assert recorded.user.conversation_id == created.id
    assert (await store.record(NewRequest(LOCAL_USER, "r1", None, "Olá"))).answer == recorded.answer


@pytest.mark.parametrize("conversation_id", [1, None])
async def test_a_request_is_found_once_it_is_recorded(store: Store, conversation_id: int | None) -> None:
    """Before: nothing. Somebody else's of the same name: nothing either."""
    request = NewRequest(LOCAL_USER, "r1", conversation_id, "Olá")
    assert await store.find(request) is None
    recorded = await store.record(request)
    assert await store.find(request) == Recorded(recorded.user, recorded.answer, new=False)
    assert await store.find(NewRequest("somebody-else", "r1", conversation_id, "Olá")) is None


@pytest.mark.parametrize(("owner", "conversation_id"), [(LOCAL_USER, 4711), ("somebody-else", 1)])
async def test_an_unknown_or_foreign_conversation_is_not_found(store: Store, owner: str, conversation_id: int) -> None:
    """Whether it exists is nobody else's business: the same error, and nothing is stored."""
    with pytest.raises(RequestError) as caught:
        await store.record(NewRequest(owner, "r1", conversation_id, "Olá"))
    assert caught.value.code == ErrorCode.NOT_FOUND
    assert (await store.history(LOCAL_USER, 1, limit=50)).messages == []


async def test_a_long_message_is_stored_whole(store: Store) -> None:
    """256 KiB of four-byte characters."""
    text = "😀" * (256 * 1024 // 4)
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", 1, text))
    assert (await store.answer(recorded.user.id)).content == text
