"""The answers that a connection watches: what it missed is brought, what it must not see is not shown."""

import asyncio
from time import perf_counter

import pytest

from libs.bus.connection import Bus
from libs.client.connection import Client
from libs.contract import frames
from libs.contract.chat import ChatResume, ChatResumed, MessageStatus
from tests.brokers import Server
from tests.gateway.played_answers import (
    MESSAGE_ID,
    PlayedAnswer,
    accepted,
    end,
    nothing_more,
    piece,
    places,
    played_answer,
    shown,
)
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer

CLOSING = frames.encode("error", {"code": "internal", "message": "x", "retryable": True, "requestId": "r-1"})


async def test_a_hole_is_filled_without_the_client_asking(chat_bus: Bus, visitor: Client) -> None:
    """One question, with the last position; the client sees every piece once and in order."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(piece(2))
        answer.answering.clear()
        for seq in (4, 5, 6):
            await answer.say(piece(seq))
        await until(lambda: answer.asked)
        answer.missing = [piece(6, first=3)]
        answer.answering.set()
        assert places(await shown(visitor, 3)) == [(1, 1, 1), (1, 2, 2), (1, 3, 6)]
        await answer.say(piece(7))
        await answer.say(end(8), CLOSING)
        assert places(await shown(visitor, 1)) == [(1, 7, 7)]
        assert [data.get("done") or data["code"] for data in await shown(visitor, 2)] == [True, "internal"]
        assert answer.asked == [("repair", ChatResume(message_id=MESSAGE_ID, epoch=1, seq=2))]


async def test_an_end_that_does_not_fit_takes_what_follows_it_along(chat_bus: Bus, visitor: Client) -> None:
    """`done` and the frames after it are shown together, or not at all."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        answer.missing = [piece(2), end(3), CLOSING]
        await answer.say(end(3), CLOSING)
        told = await shown(visitor, 4)
        assert places(told[:3]) == [(1, 1, 1), (1, 2, 2), (1, 3, 3)]
        assert told[3]["code"] == "internal"
        await answer.say(end(3), CLOSING)
        await nothing_more(visitor)


async def test_a_worker_that_has_lost_the_answer_is_not_heard(chat_bus: Bus, visitor: Client) -> None:
    """Neither while its successor runs nor after the end; only who begins anew under the last epoch, if asked."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(piece(1, "", epoch=2, reset=True))
        await answer.say(piece(2))
        await answer.say(piece(9, epoch=1, reset=True))
        await answer.say(piece(2, epoch=2))
        await answer.say(end(3, epoch=2))
        assert places(await shown(visitor, 4)) == [(1, 1, 1), (2, 1, 1), (2, 2, 2), (2, 3, 3)]
        for late in (piece(3), piece(4, epoch=2), piece(5, reset=True), end(6), end(4, epoch=2)):
            await answer.say(late)
        await nothing_more(visitor)
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1, "again", epoch=2, reset=True), end(2, epoch=2))
        assert places(await shown(visitor, 2)) == [(2, 1, 1), (2, 2, 2)]
        assert answer.asked == []


async def test_a_reset_that_was_lost_is_asked_for(chat_bus: Bus, visitor: Client) -> None:
    """A frame of a higher epoch in its middle tells that somebody began anew."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        answer.missing = [piece(2, epoch=2, reset=True)]
        await answer.say(piece(2, epoch=2))
        assert places(await shown(visitor, 2)) == [(1, 1, 1), (2, 2, 2)]
        assert answer.asked == [("repair", ChatResume(message_id=MESSAGE_ID, epoch=1, seq=1))]


async def test_who_was_shown_nothing_on_this_connection_is_told_to_begin_again(chat_bus: Bus, visitor: Client) -> None:
    """It may have the beginning from another connection, where its next piece is another one than here."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        answer.missing = [piece(50, first=1, reset=True)]
        await answer.say(piece(50))
        assert places(await shown(visitor, 1)) == [(1, 1, 50)]
        assert answer.asked == [("repair", ChatResume(message_id=MESSAGE_ID))]


async def test_silence_is_asked_about_and_nothing_is_shown_twice(chat_bus: Bus, visitor: Client) -> None:
    """After three seconds; a worker that has nothing new says only that it runs."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        heard = perf_counter()
        await until(lambda: len(answer.asked) == 2)
        assert 5.5 < perf_counter() - heard < 9
        assert answer.asked == [("repair", ChatResume(message_id=MESSAGE_ID, epoch=1, seq=1))] * 2
        await shown(visitor, 1)
        await nothing_more(visitor)


@pytest.mark.thorough
async def test_all_of_an_answer_once_more_is_not_shown_to_who_has_it(chat_bus: Bus, visitor: Client) -> None:
    """A busy worker answers the question of a silent moment when it is over; a client must not begin again for that."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(piece(2))
        await answer.say(piece(2, first=1, reset=True))
        await answer.say(piece(3))
        assert places(await shown(visitor, 3)) == [(1, 1, 1), (1, 2, 2), (1, 3, 3)]
        await answer.say(piece(4, first=1, reset=True))
        assert [data.get("reset") for data in await shown(visitor, 1)] == [True]


async def test_a_repair_that_comes_after_the_end_shows_the_answer_no_second_time(
    chat_bus: Bus, visitor: Client
) -> None:
    """The worker's own end was faster than the row from the database; who asks for it again is shown it again."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(end(2))
        assert places(await shown(visitor, 2)) == [(1, 1, 1), (1, 2, 2)]
        row = (piece(1, reset=True), end(2))
        await answer.say(*row)
        await nothing_more(visitor)
        await accepted(chat_bus, visitor, answer)
        await answer.say(*row)
        assert places(await shown(visitor, 2)) == [(1, 1, 1), (1, 2, 2)]


async def test_the_whole_text_of_an_ended_answer_is_shown_to_who_has_seen_one_piece(
    chat_bus: Bus, visitor: Client
) -> None:
    """From the database all of it is piece 1 again; it is more than the piece 1 that was shown."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(piece(1, "1 2 3 ", reset=True), end(2))
        assert [(data["chunk"], data["done"]) for data in (await shown(visitor, 3))[1:]] == [
            ("1 2 3 ", False),
            ("", True),
        ]


async def test_an_answer_that_nobody_runs_is_asked_for_until_somebody_does(chat_bus: Bus, visitor: Client) -> None:
    """Soon, but not too often."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        answer.running, answer.status = False, MessageStatus.PENDING
        await until(lambda: answer.asked)
        asked = perf_counter()
        await until(lambda: len(answer.asked) == 4)
        assert 1.7 < perf_counter() - asked < 6
        answer.running, answer.missing = True, [piece(5, epoch=2, reset=True)]
        assert places(await shown(visitor, 2)) == [(1, 1, 1), (2, 5, 5)]


async def test_an_answer_between_two_workers_is_asked_for_as_often_as_before(chat_bus: Bus, visitor: Client) -> None:
    """Its worker has died, and the next one does not know who has come back meanwhile. With ever longer pauses: 8 s."""
    async with played_answer(chat_bus) as answer:
        answer.running = False
        answer.missing = [
            frames.encode("chat:resumed", ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.STREAMING), frame_id="b")
        ]
        await visitor.send({"type": "chat:resume", "id": "b", "data": {"messageId": 8, "epoch": 1, "seq": 5}})
        await until(lambda: answer.asked)
        answer.missing = []
        since = perf_counter()
        await until(lambda: len(answer.asked) == 6)
        assert perf_counter() - since < 4


async def test_an_accepted_request_is_asked_for_although_nothing_was_ever_heard(chat_bus: Bus, visitor: Client) -> None:
    """By its request id."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        answer.missing = [piece(4, reset=True)]
        assert places(await shown(visitor, 1)) == [(1, 4, 4)]
        assert answer.asked == [("repair", ChatResume(request_id="r-1"))]
        answer.missing = []
        await answer.say(end(5))
        await shown(visitor, 1)


async def test_when_nats_was_away_everything_is_asked_for_at_once(
    bus: Bus, client: Client, nats: Server, gateway: ServiceProcess
) -> None:
    """What was said meanwhile is lost to the gateway."""
    async with played_answer(bus) as answer:
        await accepted(bus, client, answer)
        await answer.say(piece(1))
        await shown(client, 1)
        nats.kill()
        nats.start()
        await until_answer(lambda: asyncio.to_thread(gateway.is_ready))
        answer.missing = [piece(3, first=2)]
        assert places(await shown(client, 1)) == [(1, 2, 3)]
        assert await asyncio.to_thread(gateway.metric, "gateway_repairs_total") >= 1


async def test_a_refused_request_is_not_waited_for(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """The error frame that names it is the last word."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        assert await asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched") == 1
        await answer.say(CLOSING)
        await shown(visitor, 1)
        assert await asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched") == 0


async def test_a_connection_that_leaves_in_the_middle_is_not_asked_for(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """Also while a question is under way."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        answer.answering.clear()
        await answer.say(piece(2))
        await until(lambda: answer.asked)
        await visitor.close()
        await until_answer(
            lambda: asyncio.to_thread(lambda: shared_gateway.metric("gateway_answers_watched") == 0), seconds=5
        )
        answer.answering.set()
        await until_answer(
            lambda: asyncio.to_thread(lambda: shared_gateway.metric("gateway_connections") == 0), seconds=5
        )
    assert len(answer.asked) == 1


async def test_two_requests_for_one_answer_on_one_connection_are_both_told_all(chat_bus: Bus, visitor: Client) -> None:
    """Each under its own `id`."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        other = PlayedAnswer(chat_bus)
        other.reply, other.frame_id = answer.reply, "b"
        await answer.say(piece(1))
        await other.say(piece(1, reset=True))
        for one in (answer, other):
            await one.say(piece(2))
        for one in (other, answer):
            await one.say(end(3))
        told = [await asyncio.wait_for(visitor.pushed.get(), 5) for _ in range(6)]
        for name in ("a", "b"):
            assert [frame["data"]["seq"] for frame in told if frame["id"] == name] == [1, 2, 3]
