"""Good answers at every pace: paced, as fast as it goes, held back, stalled."""

import asyncio
from collections.abc import AsyncGenerator

from tests.scripted_model import wire
from tests.scripted_model.answers import ANSWER, answer_chunks, numbered_token, unique_token
from tests.scripted_model.call import APART_SECONDS, Call

Bytes = AsyncGenerator[bytes, None]


async def echo(call: Call) -> Bytes:
    """Answers `expected_answer(last user message)`, a token every 2 ms."""
    yield wire.head()
    for text in answer_chunks(call.question):
        yield call.token(text)
        await asyncio.sleep(APART_SECONDS)
    yield call.end()


async def paced(call: Call, count: int | None = None, per_second: float = 50) -> Bytes:
    """`count` tokens (else the request's max_tokens, else 200) on a steady clock that does not drift."""
    loop = asyncio.get_running_loop()
    count = call.number("max_tokens", 200) if count is None else count
    yield wire.head()
    started = loop.time()
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / per_second - loop.time()))
        yield call.token(numbered_token(number))
    yield call.end()


async def unique(call: Call, count: int, per_second: float) -> Bytes:
    """As `paced`, behind a token that no other answer has: it tells of two attempts which one a text is from."""
    first = True
    async for data in paced(call, count, per_second):
        yield data
        if first:
            yield call.token(unique_token())
            first = False


async def tokens(call: Call, count: int | None = None) -> Bytes:
    """`count` tokens (else max_tokens, else 1000) as fast as the socket takes them."""
    yield wire.head()
    for number in range(call.number("max_tokens", 1000) if count is None else count):
        yield call.token(numbered_token(number))
    yield call.end()


async def stall(call: Call, after: int = 5) -> Bytes:
    """Some tokens, then silence with the connection open."""
    yield wire.head()
    for text in ANSWER[:after]:
        yield call.token(text)
    await call.released.wait()
    yield call.end()


async def held(call: Call) -> Bytes:
    """Not a byte until released, then `echo`."""
    await call.released.wait()
    async for data in echo(call):
        yield data


async def held_after_head(call: Call) -> Bytes:
    """Headers and the role at once, no text until released: a server that reads a long prompt."""
    yield wire.head() + call.part(call.chunk({"role": "assistant", "content": None}))
    await call.released.wait()
    for text in answer_chunks(call.question):
        yield call.token(text)
    yield call.end()


async def slow_head(call: Call) -> Bytes:
    """The headers byte by byte."""
    for byte in wire.head():
        yield bytes([byte])
        await asyncio.sleep(APART_SECONDS / 4)
    for text in ANSWER:
        yield call.token(text)
    yield call.end()


async def burst(call: Call) -> Bytes:
    """The whole answer in one write."""
    yield wire.head() + b"".join(call.token(text) for text in ANSWER) + call.end()


async def length(call: Call) -> Bytes:
    """Ends because the allowed number of tokens was reached."""
    yield wire.head() + call.token(ANSWER[0]) + call.end("length")


async def other_model(call: Call) -> Bytes:
    """The one loaded model answers although another was asked for."""
    call.seen.model = "the-loaded-one"
    yield wire.head()
    for text in ANSWER:
        yield call.token(text)
    yield call.end()
