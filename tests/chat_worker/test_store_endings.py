"""How answers end: finished by their worker, fenced off, cancelled."""

import asyncio
from datetime import datetime

import pytest
from msgspec import structs

from libs.contract.chat import MessageStatus
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from services.chat_worker.records import Checkpoint, Claimed, NewRequest, Outcome, StoredMessage
from services.chat_worker.store import Store
from services.chat_worker.store_conversations import present

OUTCOME = Outcome(
    status=MessageStatus.COMPLETE,
    content="Três pães 🥖",
    reasoning="pensei",
    model="smollm2",
    finish_reason="stop",
    prompt_tokens=12,
    completion_tokens=34,
    ttft_ms=123.456,
    tokens_per_second=78.9,
)


async def running(store: Store, request_id: str = "r1", *, lease_ms: int = 60_000) -> StoredMessage:
    answer = (await store.record(NewRequest(LOCAL_USER, request_id, None, "Olá"))).answer
    claimed = await store.claim(answer.id, worker="w", lease_ms=lease_ms, max_attempts=5)
    assert isinstance(claimed, Claimed)
    return claimed.answer


async def last_used(store: Store) -> datetime:
    return (await store.list_conversations(LOCAL_USER, limit=1)).conversations[0].updated_at


async def test_a_finished_answer_has_all_that_its_worker_says(store: Store) -> None:
    """The returned row is the stored row."""
    answer = await running(store)
    expected = structs.replace(answer, **structs.asdict(OUTCOME))
    finished = await store.finish(answer, OUTCOME)
    assert finished == expected
    assert finished.status is OUTCOME.status
    assert await store.answer(answer.id) == expected


async def test_finishing_marks_the_conversation_as_used(store: Store) -> None:
    """It moves to the top of the list."""
    answer = await running(store)
    other = await running(store, "r2")
    await store.finish(other, OUTCOME)
    used = present()
    while present() == used:  # the list is ordered by milliseconds
        pass
    await store.finish(answer, OUTCOME)
    listed = await store.list_conversations(LOCAL_USER, limit=2)
    assert [one.id for one in listed.conversations] == [answer.conversation_id, other.conversation_id]


async def test_an_answer_ends_once(stores: tuple[Store, Store]) -> None:
    """Of many endings at once one counts; the others are told that they came too late."""
    answer = await running(stores[0])
    ends = await asyncio.gather(
        *(stores[i % 2].finish(answer, structs.replace(OUTCOME, content=str(i))) for i in range(6))
    )
    won = [end for end in ends if end is not None]
    assert won == [await stores[0].answer(answer.id)]


async def test_a_worker_that_lost_its_answer_cannot_end_it(stores: tuple[Store, Store]) -> None:
    """The old epoch is fenced off, and leaves the conversation untouched."""
    answer = await running(stores[0])
    await stores[0].release(answer.id, 1)
    taken = await stores[1].claim(answer.id, worker="other", lease_ms=60_000, max_attempts=5)
    assert isinstance(taken, Claimed)
    used = await last_used(stores[0])
    assert await stores[0].finish(answer, OUTCOME) is None
    assert (await stores[0].answer(answer.id)).status == MessageStatus.STREAMING
    assert await last_used(stores[0]) == used
    assert await stores[1].finish(taken.answer, OUTCOME) is not None


async def test_words_of_a_model_server_that_are_too_long_are_cut(store: Store) -> None:
    """They come from outside; an answer must not be lost for them."""
    answer = await running(store)
    finished = await store.finish(
        answer,
        Outcome(
            status=MessageStatus.ERROR,
            content="",
            model="m" * 1000,
            finish_reason="f" * 1000,
            error_code="e" * 1000,
            error_message="😀" * 1000,
        ),
    )
    assert finished == await store.answer(answer.id)
    assert finished.error_message == "😀" * 500
    assert (finished.model, finished.finish_reason, finished.error_code) == ("m" * 200, "f" * 64, "e" * 64)


async def test_a_long_answer_is_kept_whole(store: Store) -> None:
    """A megabyte, four times what is promised: MySQL's TEXT would end at 64 KiB."""
    answer = await running(store)
    text = "çã😀." * (1024 * 1024 // 9)
    await store.finish(answer, structs.replace(OUTCOME, content=text, reasoning=text))
    stored = await store.answer(answer.id)
    assert (stored.content == text, stored.reasoning == text) == (True, True)


async def test_a_pending_answer_is_cancelled(store: Store) -> None:
    """Nobody runs it, so it ends here; named by its id."""
    answer = (await store.record(NewRequest(LOCAL_USER, "r1", 1, "Olá"))).answer
    expected = structs.replace(answer, status=MessageStatus.CANCELLED)
    assert await store.cancel(LOCAL_USER, message_id=answer.id) == expected
    assert await store.answer(answer.id) == expected


async def test_an_answer_is_cancelled_by_its_request_id(store: Store) -> None:
    """A client that has not heard of the message yet knows only its own request."""
    answer = (await store.record(NewRequest(LOCAL_USER, "r1", 1, "Olá"))).answer
    assert (await store.cancel(LOCAL_USER, request_id="r1")).id == answer.id
    assert (await store.answer(answer.id)).status == MessageStatus.CANCELLED


async def test_an_abandoned_answer_is_cancelled_and_keeps_its_text(store: Store) -> None:
    """Its worker is dead; should it come back, it is fenced off."""
    answer = await running(store)
    await store.checkpoint([Checkpoint(answer.id, 1, "half an ans")], lease_ms=60_000)
    await store.release(answer.id, 1)
    cancelled = await store.cancel(LOCAL_USER, message_id=answer.id)
    assert (cancelled.status, cancelled.content) == (MessageStatus.CANCELLED, "half an ans")
    assert await store.checkpoint([Checkpoint(answer.id, 1, "late")], lease_ms=60_000) == {answer.id}
    assert await store.finish(answer, OUTCOME) is None
    assert await store.answer(answer.id) == cancelled


async def test_a_running_answer_is_left_to_its_worker(store: Store) -> None:
    """The caller sees that it is still streaming and tells the worker."""
    answer = await running(store)
    assert await store.cancel(LOCAL_USER, message_id=answer.id) == answer


async def test_cancelling_an_ended_answer_changes_nothing(store: Store) -> None:
    """Too late is no error."""
    answer = await running(store)
    finished = await store.finish(answer, OUTCOME)
    assert await store.cancel(LOCAL_USER, message_id=answer.id) == finished


async def test_of_a_cancel_and_a_claim_at_once_one_wins(stores: tuple[Store, Store]) -> None:
    """Either the answer runs, or it never will; ten times."""
    for i in range(10):
        answer = (await stores[0].record(NewRequest(LOCAL_USER, f"r{i}", None, "Olá"))).answer
        claimed, cancelled = await asyncio.gather(
            stores[0].claim(answer.id, worker="w", lease_ms=60_000, max_attempts=5),
            stores[1].cancel(LOCAL_USER, message_id=answer.id),
        )
        began = isinstance(claimed, Claimed)
        assert cancelled.status == (MessageStatus.STREAMING if began else MessageStatus.CANCELLED)
        assert (await stores[0].answer(answer.id)).status == cancelled.status


async def test_what_is_not_an_answer_of_the_asker_is_not_found(store: Store) -> None:
    """A user's message, somebody else's answer, unknown ids, and no id at all."""
    recorded = await store.record(NewRequest(LOCAL_USER, "r1", 1, "Olá"))
    attempts = [
        store.cancel(LOCAL_USER, message_id=recorded.user.id),
        store.cancel("somebody-else", message_id=recorded.answer.id),
        store.cancel("somebody-else", request_id="r1"),
        store.cancel(LOCAL_USER, message_id=4711),
        store.cancel(LOCAL_USER, request_id="r2"),
        store.cancel(LOCAL_USER),
    ]
    for attempt in attempts:
        with pytest.raises(RequestError) as caught:
            await attempt
        assert caught.value.code == ErrorCode.NOT_FOUND
    assert (await store.answer(recorded.answer.id)).status == MessageStatus.PENDING
