"""The model of the bench, which says in every token when it was sent."""

import asyncio
import json

from bench import model
from bench.answers import SseAnswer
from bench.websocket import masked


async def answered(name: str) -> SseAnswer:
    """A whole answer of a running model."""
    server = await asyncio.get_running_loop().create_server(model.Connection, "127.0.0.1", 0)
    async with server:
        answer = SseAnswer(server.sockets[0].getsockname()[1])
        await answer.open()
        answer.ask(name)
        async with asyncio.timeout(10):
            await answer.over.wait()
        answer.close()
        return answer


async def test_an_unpaced_answer_comes_whole() -> None:
    """Also when the socket is full now and then."""
    answer = await answered("tokens-20000")
    assert answer.failed is None
    assert answer.marks.order(20_000).perfect


async def test_a_paced_answer_keeps_its_pace() -> None:
    """20 tokens at 200 a second take 95 ms and no less; the clock of the event loop counts whole milliseconds."""
    answer = await answered("paced-20-200")
    assert answer.marks.order(20).perfect
    assert answer.marks.sent_ns[-1] - answer.marks.sent_ns[0] >= 94e6


async def test_a_model_that_is_not_there_is_refused() -> None:
    """The bench must not measure an error page."""
    answer = await answered("gpt-5")
    assert answer.failed is not None
    assert "404" in answer.failed


def test_a_token_is_a_chunk_that_every_client_can_read() -> None:
    """As OpenAI's API has it."""
    size, data = model.token(3).split(b"\r\n")[:2]
    assert int(size, 16) == len(data)
    content = json.loads(data.removeprefix(b"data: "))["choices"][0]["delta"]["content"]
    assert content.startswith("~3:")


def test_a_frame_of_a_client_tells_its_size_in_three_ways() -> None:
    """RFC 6455, section 5.2; the mask is all zero."""
    assert masked(1, b"abc") == b"\x81\x83\0\0\0\0abc"
    assert masked(1, b"x" * 126)[:4] == b"\x81\xfe\x00\x7e"
    assert masked(2, b"x" * 70_000)[:10] == b"\x82\xff" + (70_000).to_bytes(8, "big")
