"""`chat:resume` at a gateway: it goes on where the client says it is."""

import asyncio

import msgspec
import pytest

from libs.bus.connection import Bus, BusUnavailable
from libs.client.connection import Client, ClientError, Frame
from libs.contract import frames
from libs.contract.chat import ChatResume, ChatResumed, ChatStreaming, MessageStatus
from libs.contract.frames import ClientRequest
from libs.contract.generations import Resumed
from services.gateway.answers import MOST_WATCHED, Answers
from services.gateway.places import Place
from services.gateway.repairs import Repairs
from services.gateway.requests import Caller, Question, Resume
from tests.clients import open_client
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

BY_EITHER = pytest.mark.parametrize(
    "named", [{"messageId": MESSAGE_ID}, {"requestId": "r-1"}], ids=["message", "request"]
)


async def resumed(client: Client, answer: PlayedAnswer, named: Frame, status: MessageStatus) -> None:
    """A client has come back, and there is nothing yet that it could be shown."""
    answer.status = status
    answer.missing = [frames.encode("chat:resumed", ChatResumed(MESSAGE_ID, "r-1", 1, status), frame_id="b")]
    await client.send({"type": "chat:resume", "id": "b", "data": named})
    assert (await asyncio.wait_for(client.pushed.get(), 5))["type"] == "chat:resumed"
    answer.missing = []


async def test_resuming_goes_on_at_the_clients_own_position(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """Pieces that it has are not shown; those behind it are, also when they come first."""
    told = ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.STREAMING)
    async with played_answer(chat_bus) as answer:
        answer.answering.clear()
        await visitor.send({"type": "chat:resume", "id": "b", "data": {"messageId": 8, "epoch": 1, "seq": 5}})
        await until(lambda: answer.asked)
        answer.missing = [frames.encode("chat:resumed", told, frame_id="b"), piece(9, first=6)]
        await answer.say(piece(5))
        await answer.say(piece(9))
        answer.answering.set()
        first = await asyncio.wait_for(visitor.pushed.get(), 5)
        assert (first["type"], first["id"]) == ("chat:resumed", "b")
        assert places(await shown(visitor, 1)) == [(1, 6, 9)]
        await answer.say(end(10))
        assert places(await shown(visitor, 1)) == [(1, 10, 10)]
        assert [name for name, _ in answer.asked] == ["resume"]
    assert await asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched") == 0


async def test_a_position_without_an_epoch_is_no_position(chat_bus: Bus, visitor: Client) -> None:
    """The worker begins again for such a client, and that is shown, although it ends where the client says it is."""
    told = ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.STREAMING)
    async with played_answer(chat_bus) as answer:
        answer.missing = [frames.encode("chat:resumed", told, frame_id="c"), piece(2, first=1, reset=True)]
        await visitor.send({"type": "chat:resume", "id": "c", "data": {"messageId": 8, "seq": 2}})
        assert (await asyncio.wait_for(visitor.pushed.get(), 5))["type"] == "chat:resumed"
        assert places(await shown(visitor, 1)) == [(1, 1, 2)]
        await answer.say(end(3))
        assert places(await shown(visitor, 1)) == [(1, 3, 3)]


@BY_EITHER
@pytest.mark.parametrize("before_the_reply", [True, False], ids=["before", "after"])
async def test_an_answer_that_this_connection_has_seen_to_its_end_is_shown_again(
    before_the_reply: bool, named: Frame, chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """Once, under the same `id`; also if the reply to the gateway overtakes it. Nothing is waited for afterwards."""
    told = ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.COMPLETE)
    row: list[ChatStreaming | bytes] = [frames.encode("chat:resumed", told, frame_id="a"), piece(1, reset=True), end(2)]
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await answer.say(end(2))
        await shown(visitor, 2)
        answer.running, answer.status = False, MessageStatus.COMPLETE
        answer.missing = row if before_the_reply else row[:1]
        await visitor.send({"type": "chat:resume", "id": "a", "data": named})
        assert (await asyncio.wait_for(visitor.pushed.get(), 5))["type"] == "chat:resumed"
        if not before_the_reply:
            await until_answer(lambda: asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched"))
            await until_answer(lambda: asyncio.to_thread(lambda: not shared_gateway.metric("gateway_client_tasks")))
            await answer.say(*row[1:])
        assert places(await shown(visitor, 2)) == [(1, 1, 1), (1, 2, 2)]
        await nothing_more(visitor)
    assert await asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched") == 0


async def test_a_resume_that_is_refused_leaves_nothing_behind(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """`not_found`, under the request's id."""
    async with played_answer(chat_bus) as answer:
        answer.running = None
        with pytest.raises(ClientError) as caught:
            await visitor.ask("chat:resume", {"messageId": 8})
    assert caught.value.code == "not_found"
    assert await asyncio.to_thread(shared_gateway.metric, "gateway_answers_watched") == 0


async def test_an_answer_that_cannot_be_resumed_at_the_moment_goes_on_as_it_did(chat_bus: Bus, visitor: Client) -> None:
    """The client asked without need, or for a gap of its own: it is told so, and the next pieces still come."""
    async with played_answer(chat_bus) as answer:
        await accepted(chat_bus, visitor, answer)
        await answer.say(piece(1))
        await shown(visitor, 1)
        answer.refusal = BusUnavailable()
        await visitor.send({"type": "chat:resume", "id": "a", "data": {"messageId": MESSAGE_ID, "epoch": 1, "seq": 1}})
        assert [told["code"] for told in await shown(visitor, 1)] == ["bus_unavailable"]
        await answer.say(piece(2))
        assert places(await shown(visitor, 1)) == [(1, 2, 2)]
        assert [verb for verb, _ in answer.asked] == ["resume"]


@BY_EITHER
async def test_a_resumed_answer_that_still_waits_for_its_turn_is_asked_for(
    named: Frame, chat_bus: Bus, visitor: Client
) -> None:
    """However the client named it: whoever takes it over does not know this client."""
    async with played_answer(chat_bus) as answer:
        answer.running = False
        await resumed(visitor, answer, named, MessageStatus.PENDING)
        await until(lambda: len(answer.asked) == 3, seconds=5)
        nothing_seen = ("repair", ChatResume(message_id=MESSAGE_ID))
        assert answer.asked[1:] == [nothing_seen] * 2


@BY_EITHER
async def test_a_hole_at_the_beginning_of_a_resumed_answer_is_filled(
    named: Frame, chat_bus: Bus, visitor: Client
) -> None:
    """Its first piece was lost."""
    async with played_answer(chat_bus) as answer:
        await resumed(visitor, answer, named, MessageStatus.STREAMING)
        answer.missing = [piece(2, first=1)]
        await answer.say(piece(2))
        assert places(await shown(visitor, 1)) == [(1, 1, 2)]


async def test_who_left_while_its_answer_was_asked_for_is_not_asked_for_again(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """Only the request was known, and the reply names the answer; another client goes on waiting for the same."""
    async with played_answer(chat_bus) as answer, open_client(shared_gateway.ws) as other:
        await accepted(chat_bus, visitor, answer)
        answer.running, answer.status = False, MessageStatus.PENDING
        answer.answering.clear()
        await until(lambda: answer.asked)
        await visitor.close()
        await until_answer(lambda: asyncio.to_thread(lambda: shared_gateway.metric("gateway_connections") == 1))
        answer.answering.set()
        await other.send({"type": "chat:resume", "id": "b", "data": {"messageId": MESSAGE_ID, "epoch": 1, "seq": 5}})
        await until(lambda: len(answer.asked) == 5)
    assert [asked for _, asked in answer.asked[1:]] == [ChatResume(message_id=MESSAGE_ID, epoch=1, seq=5)] * 4


async def test_answers_beyond_those_that_a_connection_watches_are_forwarded_as_they_come(bus: Bus) -> None:
    """Also those resumed by their requests, whose messages are known only afterwards."""

    def put(_: bytes) -> None:
        raise AssertionError("nothing is to be told")

    answers = Answers(Caller("connection", "local", "reply.g.c"), Repairs(bus), put)
    for number in range(1, MOST_WATCHED + 11):
        request = ClientRequest(f"r-{number}", "local", "reply.g.c", "chat:resume")

        async def ask(question: Question, number: int = number) -> bytes:
            name = question.request.request_id
            return msgspec.json.encode(Resumed(number, name, 1, MessageStatus.STREAMING, running=True))

        await answers.resume(Resume(ChatResume(request_id=f"r-{number}"), Question("any", request)), ask)
    assert answers.count() == MOST_WATCHED
    beyond = Place(MOST_WATCHED + 5, None, epoch=1, first=7, seq=7, reset=False, done=False)
    assert answers.take(beyond, frames.encode("chat:streaming", piece(7)))
