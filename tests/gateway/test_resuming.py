"""`chat:resume` at a gateway: it goes on where the client says it is."""

import asyncio

import pytest

from libs.bus.connection import Bus
from libs.client.connection import Client, ClientError
from libs.contract import frames
from libs.contract.chat import ChatResumed, MessageStatus
from tests.gateway.played_answers import MESSAGE_ID, end, piece, places, played_answer, shown
from tests.processes import ServiceProcess
from tests.waiting import until


async def test_resuming_goes_on_at_the_clients_own_position(
    chat_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """Pieces that it has are not shown; those behind it are, also when they come first."""
    resumed = ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.STREAMING)
    async with played_answer(chat_bus) as answer:
        answer.answering.clear()
        await visitor.send({"type": "chat:resume", "id": "b", "data": {"messageId": 8, "epoch": 1, "seq": 5}})
        await until(lambda: answer.asked)
        answer.missing = [frames.encode("chat:resumed", resumed, frame_id="b"), piece(9, first=6)]
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
    resumed = ChatResumed(MESSAGE_ID, "r-1", 1, MessageStatus.STREAMING)
    async with played_answer(chat_bus) as answer:
        answer.missing = [frames.encode("chat:resumed", resumed, frame_id="c"), piece(2, first=1, reset=True)]
        await visitor.send({"type": "chat:resume", "id": "c", "data": {"messageId": 8, "seq": 2}})
        assert (await asyncio.wait_for(visitor.pushed.get(), 5))["type"] == "chat:resumed"
        assert places(await shown(visitor, 1)) == [(1, 1, 2)]
        await answer.say(end(3))
        assert places(await shown(visitor, 1)) == [(1, 3, 3)]


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
