"""Whole answers in every dress that a server gives them."""

import asyncio
import json
from collections.abc import AsyncGenerator

from tests.scripted_model import wire
from tests.scripted_model.answers import ANSWER, ANSWER_TEXT, THOUGHT
from tests.scripted_model.call import APART_SECONDS, Call, HangUp

Bytes = AsyncGenerator[bytes, None]


async def comments_then_answer(call: Call) -> Bytes:
    """Keep-alive comments before and between the tokens."""
    yield wire.head() + wire.chunk(b": waiting\n\n:\n\n")
    for text in ANSWER:
        yield call.token(text) + wire.chunk(b": keep-alive\n\n")
    yield call.end()


async def crlf(call: Call) -> Bytes:
    r"""Lines that end in `\r\n`."""
    yield wire.head()
    for text in ANSWER:
        yield wire.chunk(wire.event(call.chunk({"content": text})).replace(b"\n", b"\r\n"))
    yield wire.chunk((wire.event(call.chunk({}, "stop")) + wire.DONE).replace(b"\n", b"\r\n")) + wire.LAST_CHUNK


async def split_utf8(call: Call) -> Bytes:
    """Every byte of the answer in a packet of its own, so every emoji is cut."""
    yield wire.bare_head()
    data = wire.event(call.chunk({"content": "é 😀 ção"})) + wire.event(call.chunk({}, "stop")) + wire.DONE
    for byte in data:
        yield bytes([byte])
        await asyncio.sleep(APART_SECONDS / 4)
    raise HangUp


async def bad_utf8(call: Call) -> Bytes:
    """A byte that is not UTF-8, and half of a surrogate pair, in otherwise good events."""
    good = wire.event(call.chunk({"content": "MARK"}))
    broken = good.replace(b"MARK", b"a\xffb") + good.replace(b"MARK", b"c\\ud83dd")
    yield wire.head() + wire.chunk(broken) + call.end()


async def multi_line(call: Call) -> Bytes:
    """One event's JSON over several `data:` lines, with an id and an unknown field."""
    lines = json.dumps(call.chunk({"content": ANSWER_TEXT}), indent=1).encode().split(b"\n")
    data = b"id: 7\nretry: 100\nevent: message\n" + b"".join(b"data:" + line + b"\n" for line in lines) + b"\n"
    yield wire.head() + wire.chunk(data) + wire.chunk(b"data:\n\n") + call.end()


async def whole(call: Call) -> Bytes:
    """A server that does not stream: one JSON object."""
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER_TEXT}, "finish_reason": "stop"}
    yield wire.json_body(200, {"model": call.seen.model, "choices": [choice], "usage": call.usage(7)})


async def usage_in_finish(call: Call) -> Bytes:
    """Usage and timings stand in the chunk with the finish reason (llama.cpp)."""
    yield wire.head() + b"".join(call.token(text) for text in ANSWER)
    last = call.chunk({}, "stop", usage=call.usage(7), timings={"predicted_per_second": 99.5})
    yield call.part(last) + wire.chunk(wire.DONE) + wire.LAST_CHUNK


async def usage_always(call: Call) -> Bytes:
    """Usage in every chunk, growing (vLLM's continuous_usage_stats)."""
    yield wire.head()
    for text in ANSWER:
        call.seen.tokens_sent += 1
        yield call.part(call.chunk({"content": text}, usage=call.usage(7)))
    yield call.part(call.chunk({}, "stop", usage=call.usage(7))) + wire.chunk(wire.DONE) + wire.LAST_CHUNK


async def nulls(call: Call) -> Bytes:
    """Null wherever null is possible, and fields that nobody knows."""
    yield wire.head()
    for text in ANSWER:
        delta = {"role": None, "content": text, "reasoning_content": None, "tool_calls": None, "refusal": None}
        yield call.part(call.chunk(delta, usage=None, error=None, future={"x": [1]}))
        yield call.part(call.chunk({"content": None}))
    yield call.end()


async def reasoning_content(call: Call) -> Bytes:
    """Thinking in `reasoning_content`."""
    yield wire.head()
    for text in THOUGHT:
        yield call.part(call.chunk({"role": "assistant", "content": None, "reasoning_content": text}))
    for text in ANSWER:
        yield call.token(text)
    yield call.end()


async def reasoning(call: Call) -> Bytes:
    """Thinking in `reasoning`."""
    yield wire.head()
    for text in THOUGHT:
        yield call.part(call.chunk({"reasoning": text}))
    for text in ANSWER:
        yield call.token(text)
    yield call.end()


async def think_tags(call: Call) -> Bytes:
    """Thinking inline, its tags cut over tokens."""
    yield wire.head()
    for text in ["<th", "ink", ">", "\n", *THOUGHT, "</", "think>", "\n\n", *ANSWER]:
        yield call.token(text)
        await asyncio.sleep(APART_SECONDS)
    yield call.end()


async def think_unopened(call: Call) -> Bytes:
    """The template wrote the opening tag, so only the closing one comes."""
    yield wire.head()
    for text in [*THOUGHT, "</think>", *ANSWER]:
        yield call.token(text)
    yield call.end()


async def no_done(call: Call) -> Bytes:
    """A finish reason, but no `[DONE]`."""
    yield wire.head()
    for text in ANSWER:
        yield call.token(text)
    yield call.part(call.chunk({}, "stop")) + wire.LAST_CHUNK


async def no_blank_line(call: Call) -> Bytes:
    """The last event lacks its closing empty line."""
    yield wire.bare_head()
    yield wire.event(call.chunk({"content": ANSWER_TEXT})) + wire.event(call.chunk({}, "stop")).rstrip(b"\n")
    raise HangUp
