"""Claiming an answer: one worker at a time, in the order of the conversation, by the database's clock."""

import asyncio

import pytest
from msgspec import structs

from libs.contract.chat import MessageStatus
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import LOCAL_USER
from services.chat_worker.records import (
    Begun,
    Checkpoint,
    Claim,
    Claimed,
    Ended,
    NewRequest,
    NotYourTurn,
    Outcome,
    RunningElsewhere,
    StoredMessage,
)
from services.chat_worker.store import Store

COMPLETE = Outcome(status=MessageStatus.COMPLETE, content="done")


async def recorded(store: Store, request_id: str, conversation_id: int | None = 1) -> StoredMessage:
    return (await store.record(NewRequest(LOCAL_USER, request_id, conversation_id, "Olá"))).answer


async def claim(store: Store, message_id: int, *, lease_ms: int = 60_000, max_attempts: int = 5) -> Claim:
    return await store.claim(message_id, worker="w", lease_ms=lease_ms, max_attempts=max_attempts)


async def claimed(store: Store, message_id: int) -> StoredMessage:
    result = await claim(store, message_id)
    assert isinstance(result, Claimed)
    return result.answer


async def test_a_pending_answer_is_claimed_under_its_first_epoch(store: Store) -> None:
    """What claim returns is what stands in the database."""
    answer = await recorded(store, "r1")
    expected = structs.replace(answer, status=MessageStatus.STREAMING, epoch=1, attempts=1)
    assert await claim(store, answer.id) == Claimed(expected)
    assert await store.answer(answer.id) == expected


async def test_a_request_whose_turn_it_is_comes_into_being_claimed(store: Store) -> None:
    """In a conversation of its own, or where nothing is unfinished. What is returned is what stands in the database."""
    for conversation_id in (None, 1):
        begun = await begin(store, f"r{conversation_id}", conversation_id)
        answer = begun.recorded.answer
        assert begun.claim == Claimed(answer)
        assert (answer.status, answer.epoch, answer.attempts) == (MessageStatus.STREAMING, 1, 1)
        assert await store.answer(answer.id) == answer
        refused = await claim(store, answer.id)
        assert isinstance(refused, RunningElsewhere)
        assert 50_000 < refused.lease_left_ms <= 60_000
        assert begun.history == ([] if conversation_id is None else None)


async def test_a_request_behind_an_unfinished_one_is_recorded_and_waits(store: Store) -> None:
    """And a repeat of either changes nothing, and claims nothing."""
    first = await begin(store, "r1", 1)
    second = await begin(store, "r2", 1)
    waiting = second.recorded.answer
    assert second.claim == NotYourTurn(waiting, 1)
    assert await store.answer(waiting.id) == waiting
    for request_id, begun in (("r1", first), ("r2", second)):
        repeat = await begin(store, request_id, 1)
        assert (repeat.recorded.new, repeat.claim, repeat.recorded.answer) == (False, None, begun.recorded.answer)


async def begin(store: Store, request_id: str, conversation_id: int | None) -> Begun:
    new = NewRequest(LOCAL_USER, request_id, conversation_id, "Olá")
    return await store.begin(new, worker="w", lease_ms=60_000)


async def test_of_many_claimers_at_once_one_wins(stores: tuple[Store, Store]) -> None:
    """Ten claims at the same moment: one is told to run it, the others that it runs. First pending, then abandoned."""
    for number in range(4):  # again and again: the first time, the claimers only connect one after the other
        answer = await recorded(stores[0], f"r{number}", None)
        for epoch in (1, 2):
            claims = await asyncio.gather(*(claim(stores[i % 2], answer.id) for i in range(10)))
            assert sorted(type(one).__name__ for one in claims) == ["Claimed"] + ["RunningElsewhere"] * 9
            assert (await stores[0].answer(answer.id)).epoch == epoch
            await stores[0].release(answer.id, epoch)


async def test_a_running_answer_is_left_to_its_worker(stores: tuple[Store, Store]) -> None:
    """And the other learns how long that worker's word still holds."""
    answer = await recorded(stores[0], "r1")
    await claim(stores[0], answer.id, lease_ms=60_000)
    refused = await claim(stores[1], answer.id)
    assert isinstance(refused, RunningElsewhere)
    assert 50_000 < refused.lease_left_ms <= 60_000


async def test_a_lease_that_ran_out_lets_the_next_worker_begin_again(stores: tuple[Store, Store]) -> None:
    """The epoch rises and the text that the dead worker had saved is gone."""
    answer = await recorded(stores[0], "r1")
    await claim(stores[0], answer.id)
    await stores[0].checkpoint([Checkpoint(answer.id, 1, "half an ans", "thought")], lease_ms=0)
    expected = structs.replace(answer, status=MessageStatus.STREAMING, epoch=2, attempts=2)
    assert await until_free(stores[1], answer.id) == Claimed(expected)
    assert await stores[1].answer(answer.id) == expected


async def until_free(store: Store, message_id: int, *, max_attempts: int = 5) -> Claim:
    """Claims again until no lease is in the way, as a worker does."""
    async with asyncio.timeout(10):
        while isinstance(result := await claim(store, message_id, max_attempts=max_attempts), RunningElsewhere):
            pass
        return result


async def test_a_lease_runs_out_by_itself(store: Store) -> None:
    """Nobody has to do anything: after its milliseconds, by the database's clock, the answer is free."""
    answer = await recorded(store, "r1")
    await claim(store, answer.id, lease_ms=150)
    assert isinstance(await claim(store, answer.id), RunningElsewhere)
    assert isinstance(await until_free(store, answer.id), Claimed)


async def test_a_checkpoint_prolongs_the_lease_and_keeps_the_text(store: Store) -> None:
    """A worker that saves is alive."""
    answer = await recorded(store, "r1")
    await claim(store, answer.id, lease_ms=1000)
    assert await store.checkpoint([Checkpoint(answer.id, 1, "Olá 👋", "hm")], lease_ms=60_000) == set()
    refused = await claim(store, answer.id)
    assert isinstance(refused, RunningElsewhere)
    assert refused.lease_left_ms > 50_000
    assert (refused.answer.content, refused.answer.reasoning) == ("Olá 👋", "hm")


async def test_one_checkpoint_saves_many_answers_and_names_the_lost_ones(stores: tuple[Store, Store]) -> None:
    """Taken over, finished, unknown: each is named, and none of them is changed."""
    kept, taken, finished = [(await recorded(stores[0], f"r{i}", None)).id for i in range(3)]
    for message_id, lease_ms in ((kept, 60_000), (taken, 0)):
        await claim(stores[0], message_id, lease_ms=lease_ms)
    running = await claimed(stores[0], finished)
    assert isinstance(await until_free(stores[1], taken), Claimed)
    await stores[0].finish(running, COMPLETE)
    checkpoints = [Checkpoint(message_id, 1, "late") for message_id in (finished, 4711, taken, kept)]
    assert await stores[0].checkpoint(checkpoints, lease_ms=60_000) == {taken, finished, 4711}
    assert [(await stores[0].answer(i)).content for i in (kept, taken, finished)] == ["late", "", "done"]


async def test_the_same_checkpoint_twice_is_not_taken_for_a_lost_answer(store: Store) -> None:
    """MySQL counts changed rows where we need matched ones, unless it is told."""
    answer = await recorded(store, "r1")
    await claim(store, answer.id)
    for _ in range(3):
        assert await store.checkpoint([Checkpoint(answer.id, 1, "same")], lease_ms=60_000) == set()


async def test_a_released_answer_is_free_at_once(stores: tuple[Store, Store]) -> None:
    """A worker that stops need not let the others wait for its lease."""
    answer = await recorded(stores[0], "r1")
    await claim(stores[0], answer.id)
    await stores[0].release(answer.id, 1)
    assert isinstance(await claim(stores[1], answer.id), Claimed)


async def test_a_release_under_an_old_epoch_does_nothing(stores: tuple[Store, Store]) -> None:
    """It would take the answer from the worker that has it now."""
    answer = await recorded(stores[0], "r1")
    await claim(stores[0], answer.id)
    await stores[0].release(answer.id, 1)
    await claim(stores[1], answer.id)
    await stores[0].release(answer.id, 1)
    assert isinstance(await claim(stores[0], answer.id), RunningElsewhere)


async def test_answers_of_one_conversation_wait_for_their_turn(store: Store) -> None:
    """The third hears that two come first; once they have ended, it is its turn."""
    first, second, third = [await recorded(store, f"r{i}") for i in range(3)]
    assert await claim(store, third.id) == NotYourTurn(third, 2)
    running = await claimed(store, first.id)
    assert await claim(store, second.id) == NotYourTurn(second, 1)
    await store.finish(running, COMPLETE)
    assert await claim(store, third.id) == NotYourTurn(third, 1)
    await store.finish(await claimed(store, second.id), COMPLETE)
    assert isinstance(await claim(store, third.id), Claimed)


async def test_other_conversations_do_not_wait(store: Store) -> None:
    """Order is a promise within a conversation only."""
    await recorded(store, "r1")
    other = await recorded(store, "r2", None)
    assert isinstance(await claim(store, other.id), Claimed)


async def test_all_claims_of_a_conversation_at_once_let_exactly_the_first_begin(stores: tuple[Store, Store]) -> None:
    """Claims lock only the row that they are about: none of these waits for, or deadlocks with, another."""
    answers = [await recorded(stores[0], f"r{i}") for i in range(6)]
    claims = await asyncio.gather(*(claim(stores[i % 2], answer.id) for i, answer in enumerate(answers)))
    assert [type(one) for one in claims] == [Claimed] + [NotYourTurn] * 5


async def test_an_answer_that_no_worker_could_finish_ends_as_an_error(store: Store) -> None:
    """A poisoned request stops after its attempts, and those behind it go on."""
    answer = await recorded(store, "r1")
    following = await recorded(store, "r2")
    assert isinstance(await claim(store, answer.id, max_attempts=2), Claimed)
    for epoch in (1, 2):
        await store.checkpoint([Checkpoint(answer.id, epoch, "")], lease_ms=0)
        given_up = await until_free(store, answer.id, max_attempts=2)
    assert isinstance(given_up, Ended)
    assert given_up.answer.given_up
    assert (given_up.answer.status, given_up.answer.error_code, given_up.answer.epoch) == (
        MessageStatus.ERROR,
        ErrorCode.INTERNAL,
        2,
    )
    assert given_up.answer.error_message == "Gave up after 2 attempts: no worker lived to end it."
    assert given_up.answer == await store.answer(answer.id)
    assert isinstance(await claim(store, following.id), Claimed)


async def test_an_answer_that_is_handed_back_in_order_is_never_given_up(store: Store) -> None:
    """Workers that are stopped one after the other have not died over it."""
    answer = await recorded(store, "r1")
    for epoch in range(1, 6):
        claimed = await claim(store, answer.id, max_attempts=2)
        assert isinstance(claimed, Claimed)
        assert (claimed.answer.epoch, claimed.answer.attempts) == (epoch, 1)
        await store.release(answer.id, epoch)


async def test_an_ended_answer_is_not_claimed(store: Store) -> None:
    """It comes back as it stands."""
    answer = await recorded(store, "r1")
    finished = await store.finish(await claimed(store, answer.id), COMPLETE)
    assert finished is not None
    assert await claim(store, answer.id) == Ended(finished)


async def test_an_unknown_answer_is_not_found(store: Store) -> None:
    """Its conversation may have been deleted while the request waited."""
    with pytest.raises(RequestError) as caught:
        await claim(store, 4711)
    assert caught.value.code == ErrorCode.NOT_FOUND
