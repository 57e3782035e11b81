"""The model server of the bench: as cheap as possible, and every token says when it was sent.

client ── POST /v1/chat/completions {"model": "paced-200-50"} ──▶ Connection ── SSE, a mark in each token ──▶ client

`paced-N-R`: N tokens, R a second, on a clock that does not drift; `tokens-N`: N tokens as fast as the socket takes
them. `python -m bench.model --port PORT` serves on loopback until SIGTERM.
"""

import argparse
import asyncio
import json
import re
import signal
import time
from typing import cast

import uvloop

from bench.marks import mark

# All that is asked for. A worker asks which models there are before it asks one.
MODELS = ("paced-200-50", "paced-500-50", "paced-3000-50", "tokens-1000")
# A buffer of this size is full; then an unpaced answer waits.
FULL_BYTES = 64 * 1024
UNPACED_AT_ONCE = 16

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": *"(?:openai/)?([^"]+)"')
_NAME = re.compile(r"paced-(\d+)-(\d+)|tokens-(\d+)")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_BEGIN = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":"'
)
_END = b'"},"finish_reason":null}]}\n\n'
_STOP = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
_DONE = b"data: [DONE]\n\n"


def token(index: int) -> bytes:
    """One chunk of the HTTP body with one server-sent event with one token, sent now."""
    return _chunk(_BEGIN + mark(index, time.monotonic_ns()) + _END)


def ending() -> bytes:
    return _chunk(_STOP) + _chunk(_DONE) + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def pace_of(name: str) -> tuple[int, float | None] | None:
    """How many tokens, and how many a second (None: as fast as possible). None: there is no such model."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    paced, per_second, unpaced = found.groups()
    return (int(unpaced), None) if unpaced else (int(paced), float(per_second))


class Connection(asyncio.Protocol):
    """One client, which asks for one answer after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._next = 0
        self._count = 0
        self._apart: float | None = None
        self._due = 0.0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(FULL_BYTES)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._apart is None and self._next < self._count:
            self._timer = self._loop.call_soon(self._unpaced)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not separator or len(rest) < size:
            return
        self._buffer = rest[size:]
        if head.startswith(b"POST"):
            self._answer(rest[:size])
        else:
            self._list(head)

    def _list(self, head: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"GET /v1/models"):
            body = json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}).encode()
            status = b"200 OK"
        else:
            body, status = b'{"error":{"message":"not here"}}', b"404 Not Found"
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        asked = _MODEL.search(body)
        pace = pace_of(asked[1].decode()) if asked else None
        if pace is None:
            self._list(b"")
            return
        self._count, per_second = pace
        self._next = 0
        self._transport.write(_HEAD)
        if per_second is None:
            self._apart = None
            self._unpaced()
        else:
            self._apart, self._due = 1 / per_second, self._loop.time()
            self._paced()

    def _paced(self) -> None:
        if self._transport is None or self._apart is None:
            return
        self._transport.write(token(self._next))
        self._next += 1
        self._due += self._apart
        if self._next < self._count:
            self._timer = self._loop.call_at(self._due, self._paced)
        else:
            self._transport.write(ending())

    def _unpaced(self) -> None:
        """A few at a time, so that all connections get their turn; none while the socket takes nothing."""
        if self._transport is None:
            return
        last = min(self._next + UNPACED_AT_ONCE, self._count)
        while self._next < last and not self._full:
            self._transport.write(token(self._next))
            self._next += 1
        if self._next == self._count:
            self._transport.write(ending())
        elif not self._full:
            self._timer = self._loop.call_soon(self._unpaced)


async def serve(port: int) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=1024)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.model", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
