"""One answer as a client sees it: over this project's WebSocket protocol, or as server-sent events.

open ── connected ──▶ ask ── the question is sent ──▶ tokens, each with its mark ──▶ over
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from typing import cast

from bench.marks import LONGEST_MARK, Marks
from bench.websocket import CONNECT_SECONDS, WebSocket, connected

QUESTION = "Tell me everything."

_STREAMING = b'{"type":"chat:streaming"'
_MESSAGE = b'{"type":"chat:message"'
_ERROR = b'{"type":"error"'


class Answer(ABC):
    """What is noted of it. Times are `time.monotonic_ns`."""

    def __init__(self) -> None:
        self.marks = Marks()
        self.asked_ns = 0
        self.first_ns: int | None = None
        """The first token."""
        self.stored_ns: int | None = None
        """The question is stored, where that is told."""
        self.resets = 0
        """How often the client was told to forget what it had, because all of it comes again."""
        self.failed: str | None = None
        self.over = asyncio.Event()

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    def ask(self, model: str) -> None: ...

    def stored_tokens(self) -> int | None:
        """How many different tokens the stored answer has, where it is told."""
        return None

    @abstractmethod
    def close(self) -> None: ...


class WebSocketAnswer(Answer):
    """Over `/ws`. `told_when_stored`: the answer ends with the stored message, otherwise with `done`."""

    def __init__(self, port: int, *, told_when_stored: bool) -> None:
        super().__init__()
        self._port = port
        self._told_when_stored = told_when_stored
        self._stored = b""
        self._socket: WebSocket | None = None

    async def open(self) -> None:
        self._socket = await connected(self._port, "/ws", self._hear)

    def ask(self, model: str) -> None:
        assert self._socket is not None
        self.asked_ns = time.monotonic_ns()
        self._socket.send_frame("chat:send", {"message": QUESTION, "model": model}, "1")

    def stored_tokens(self) -> int | None:
        if not self._told_when_stored:
            return None
        stored = Marks()
        stored.read(self._stored, 0)
        return len(set(stored.indices))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.drop()

    def _hear(self, text: bytes, now: int) -> None:
        if text.startswith(_STREAMING):
            if b'"reset":true' in text:
                self.marks.forget()
                self.resets += 1
            if self.marks.read(text, now) and self.first_ns is None:
                self.first_ns = now
            if not self._told_when_stored and b'"done":true' in text:
                self.over.set()
        elif text.startswith(_MESSAGE):
            if b'"role":"user"' in text:
                self.stored_ns = now
            else:
                self._stored = text
                self.over.set()
        elif text.startswith(_ERROR):
            self.failed = text.decode()
            self.over.set()


class SseAnswer(Answer, asyncio.Protocol):
    """`POST /v1/chat/completions` with `stream`, as any OpenAI-compatible server takes it."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    async def open(self) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def ask(self, model: str) -> None:
        assert self._transport is not None
        asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
        body = json.dumps(asked).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self.asked_ns = time.monotonic_ns()
        self._transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.over.is_set():
            self.failed = "the connection was closed"
            self.over.set()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self.first_ns is None and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            self.failed = data[:500].decode(errors="replace")
            self.over.set()
        # A mark may be cut in two by a read.
        text = self._rest + data
        end = self.marks.read(text, now)
        if end and self.first_ns is None:
            self.first_ns = now
        self._rest = text[max(end, len(text) - LONGEST_MARK) :]
        if b"[DONE]" in text:
            self.over.set()
