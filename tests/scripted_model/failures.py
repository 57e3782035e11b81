"""Streams that end as they should not, or never."""

import asyncio
from collections.abc import AsyncGenerator

from tests.scripted_model import wire
from tests.scripted_model.answers import ANSWER
from tests.scripted_model.call import APART_SECONDS, Call, HangUp, Reset

Bytes = AsyncGenerator[bytes, None]


async def comments_forever(call: Call) -> Bytes:
    """Two tokens, then keep-alive comments and nothing else."""
    yield wire.head() + call.token(ANSWER[0]) + call.token(ANSWER[1])
    while True:
        await asyncio.sleep(0.02)
        yield wire.chunk(b": keep-alive\n\n")


async def done_but_open(call: Call) -> Bytes:
    """All is said, `[DONE]` too, and the connection stays open."""
    yield wire.head()
    for text in ANSWER:
        yield call.token(text)
    yield call.end().removesuffix(wire.LAST_CHUNK)
    await call.released.wait()


async def finished_but_open(call: Call) -> Bytes:
    """A finish reason, then nothing: neither `[DONE]` nor the end of the connection."""
    yield wire.head()
    for text in ANSWER:
        yield call.token(text)
    yield call.part(call.chunk({}, "stop"))
    await call.released.wait()


async def eof(call: Call) -> Bytes:
    """The stream ends in good order, but without a finish reason."""
    yield wire.head()
    for text in ANSWER[:5]:
        yield call.token(text)
    yield wire.LAST_CHUNK


async def done_only(call: Call) -> Bytes:
    """`[DONE]` without a finish reason, as proxies add it to a stream that was cut."""
    yield wire.head()
    for text in ANSWER[:5]:
        yield call.token(text)
    yield wire.chunk(wire.DONE) + wire.LAST_CHUNK


async def abort(call: Call) -> Bytes:
    """vLLM's engine gives up: an unknown finish reason, then `[DONE]`."""
    yield wire.head()
    for text in ANSWER[:5]:
        yield call.token(text)
    yield call.end("abort")


async def cut(call: Call) -> Bytes:
    """The connection ends in the middle of an event."""
    yield wire.head()
    for text in ANSWER[:5]:
        yield call.token(text)
    yield b'400\r\ndata: {"choices":[{"del'
    raise HangUp


async def reset(call: Call) -> Bytes:
    """The connection is reset in the middle of the answer."""
    yield wire.head()
    for text in ANSWER[:5]:
        yield call.token(text)
    await asyncio.sleep(APART_SECONDS * 10)
    raise Reset


async def reset_at_once(_call: Call) -> Bytes:
    """The connection is reset before the first byte."""
    yield b""
    raise Reset


async def hang_up(_call: Call) -> Bytes:
    """The connection ends before the first byte."""
    yield b""
    raise HangUp


async def not_http(_call: Call) -> Bytes:
    """Something else listens on that port."""
    yield b"SSH-2.0-OpenSSH_9.6\r\n"
    raise HangUp


async def bad_chunk_size(call: Call) -> Bytes:
    """The framing of the body breaks after some tokens."""
    yield wire.head() + call.token(ANSWER[0])
    await asyncio.sleep(APART_SECONDS * 5)
    yield b"zz\r\nnonsense\r\n"
    raise HangUp


async def empty(_call: Call) -> Bytes:
    """A stream of nothing."""
    yield wire.head() + wire.LAST_CHUNK


async def empty_done(_call: Call) -> Bytes:
    """Nothing but `[DONE]`."""
    yield wire.head() + wire.chunk(wire.DONE) + wire.LAST_CHUNK


async def empty_stop(call: Call) -> Bytes:
    """Well-formed, with usage, without a word."""
    yield wire.head() + call.part(call.chunk({"role": "assistant", "content": ""})) + call.end()


async def empty_full(call: Call) -> Bytes:
    """LM Studio's answer to a prompt that does not fit: zero deltas, usage of the whole context, no error."""
    usage = call.usage(prompt_tokens=4096)
    yield wire.head() + call.part(call.chunk({}, "stop", usage=usage)) + wire.chunk(wire.DONE) + wire.LAST_CHUNK


async def garbage(call: Call) -> Bytes:
    """Two tokens, then an event that is not JSON."""
    yield wire.head() + call.token(ANSWER[0]) + call.token(ANSWER[1])
    yield wire.chunk(b"data: this is not JSON\n\n") + wire.LAST_CHUNK


async def endless_line(_call: Call) -> Bytes:
    """One line that never ends."""
    yield wire.head() + wire.chunk(b"data: ")
    while True:
        yield wire.chunk(b"x" * 65536)
