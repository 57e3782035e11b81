"""No wait is endless, and an answer that nobody wants is stopped where it is made."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from libs.contract.errors import ErrorCode
from services.chat_worker.lm_studio.client import ModelClient
from services.chat_worker.lm_studio.completion import Piece
from services.chat_worker.lm_studio.server import ModelServer, open_model_server
from tests.scripted_model.answers import ANSWER, ANSWER_TEXT, answer_chunks, numbered_tokens
from tests.scripted_model.asking import QUESTION, ask, hear, prompt
from tests.scripted_model.server import ScriptedModel


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel.running() as model:
        yield model


@pytest.fixture
async def server(model: ScriptedModel) -> AsyncIterator[ModelServer]:
    async with open_model_server(model.url) as server:
        yield server


async def fails_late(url: str, name: str, words: str, **deadlines: float) -> str:
    """Asks, checks that the deadline said so in `words` within a second → the text before it."""
    heard = await asyncio.wait_for(ask(url, name, None, **deadlines), 1)
    assert heard.code is ErrorCode.MODEL_UNAVAILABLE
    assert heard.failure is not None
    assert words in heard.failure.message
    return heard.text


async def test_a_server_that_takes_no_connection_is_given_up() -> None:
    """A full accept queue swallows the handshake, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            await fails_late(url, "echo", "took no connection within 0.2 s", connect_seconds=0.2)
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("name", ["held", "held-after-head"])
async def test_a_first_token_that_never_comes_is_given_up(name: str, model: ScriptedModel) -> None:
    """Headers and the role alone are no beginning of an answer."""
    late = await fails_late(model.url, name, "began no answer within 0.2 s", first_byte_seconds=0.2, idle_seconds=0.05)
    assert late == ""
    await model.until(lambda model: model.seen[0].closed_by_client)


@pytest.mark.parametrize("name", ["stall-2", "comments-forever"])
async def test_a_silence_in_the_middle_is_given_up(name: str, model: ScriptedModel) -> None:
    """Keep-alive comments do not break the silence; the text so far is kept."""
    text = await fails_late(model.url, name, "said nothing more within 0.2 s", idle_seconds=0.2)
    assert text == "".join(ANSWER[:2])
    await model.until(lambda model: model.seen[0].closed_by_client)


async def test_an_answer_without_end_is_given_up(model: ScriptedModel) -> None:
    """However lively it is."""
    text = await fails_late(model.url, "paced-1000-200", "did not finish its answer within 0.3 s", total_seconds=0.3)
    assert text.startswith("".join(numbered_tokens(10)))


async def test_steady_tokens_move_the_idle_deadline(model: ScriptedModel) -> None:
    """Forty tokens 20 ms apart take four times the idle deadline, and all arrive."""
    heard = await ask(model.url, "paced-40-50", idle_seconds=0.2, first_byte_seconds=0.2)
    assert heard.text == "".join(numbered_tokens(40))


async def test_a_finished_answer_is_not_lost_because_the_server_keeps_the_line_open(model: ScriptedModel) -> None:
    """The finish reason is known; waiting longer than that for `[DONE]` would be of no use to anybody."""
    heard = await ask(model.url, "finished-but-open", total_seconds=0.3)
    assert heard.end is not None
    assert (heard.text, heard.end.finish_reason) == (ANSWER_TEXT, "stop")


async def test_nothing_is_waited_for_behind_done(model: ScriptedModel) -> None:
    """Also when the server keeps the connection open."""
    heard = await asyncio.wait_for(ask(model.url, "done-but-open"), 1)
    assert (heard.text, heard.failure) == (ANSWER_TEXT, None)


async def test_a_released_answer_arrives_whole(model: ScriptedModel, server: ModelServer) -> None:
    """A long wait before the first byte harms nothing."""
    asking = asyncio.create_task(hear(ModelClient(server), prompt("held")))
    await model.until(lambda model: model.seen)
    model.release()
    assert (await asking).text == "".join(answer_chunks(QUESTION))


@pytest.mark.parametrize("name", ["held", "held-after-head", "stall-3", "paced-1000-100", "tokens-1000000"])
async def test_cancelling_the_asker_closes_the_connection(name: str, model: ScriptedModel, server: ModelServer) -> None:
    """Before the first byte, in a silence, and in full flow: the server sees it within a second."""
    asking = asyncio.create_task(hear(ModelClient(server), prompt(name)))
    silent = name.startswith("held")
    await model.until(lambda model: model.seen and (silent or model.seen[0].tokens_sent >= 3))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await model.until(lambda model: model.seen[0].closed_by_client and not model.connections)


async def test_who_has_enough_closes_the_connection(model: ScriptedModel, server: ModelServer) -> None:
    """Of what came in the meantime nothing is told any more; the server sees it within a second."""
    pieces: list[Piece] = []

    def take(piece: Piece) -> bool:
        pieces.append(piece)
        return len(pieces) < 3

    assert await ModelClient(server).answer(prompt("paced-1000-100"), take) is None
    assert "".join(piece.text for piece in pieces) == "".join(numbered_tokens(3))
    await model.until(lambda model: model.seen[0].closed_by_client and not model.connections)


async def test_what_goes_wrong_with_a_piece_reaches_who_asks(model: ScriptedModel, server: ModelServer) -> None:
    """A defect of ours is not taken for the server's, and the connection is closed."""

    def take(piece: Piece) -> bool:
        raise ZeroDivisionError(piece.text)

    with pytest.raises(ZeroDivisionError, match=numbered_tokens(1)[0]):
        await ModelClient(server).answer(prompt("paced-1000-100"), take)
    await model.until(lambda model: model.seen[0].closed_by_client and not model.connections)


async def test_a_cancelled_answer_leaves_nothing_behind(model: ScriptedModel, server: ModelServer) -> None:
    """No task of the client outlives it."""
    before = asyncio.all_tasks()
    for number in range(1, 6):
        asking = asyncio.create_task(hear(ModelClient(server), prompt("stall-3")))
        await model.until(lambda model: len(model.seen) == number and model.seen[-1].tokens_sent == 3)  # noqa: B023
        asking.cancel()
        await asyncio.wait([asking])
        await model.until(lambda model: not model.connections)
    await model.until(lambda _: asyncio.all_tasks() <= before)
