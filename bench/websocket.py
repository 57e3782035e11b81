"""A WebSocket client that costs as little as possible, so that what is measured is the server (RFC 6455).

socket ── bytes ──▶ WebSocket.data_received ── one text frame at a time ──▶ `hear`
"""

import asyncio
import base64
import os
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec

CONNECT_SECONDS = 20.0

_PING, _PONG, _CLOSE = 0x9, 0xA, 0x8
_SHORT, _LONG = 126, 127

Hear = Callable[[bytes, int], object]
"""Is given the text of a frame and the time at which it came (`time.monotonic_ns`)."""


class WebSocket(asyncio.Protocol):
    """Made by `connected`. Answers pings, as every client does."""

    def __init__(self, path: str, hear: Hear, *, binary: bool) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.pings = 0
        self._path = path
        self._hear = hear
        self._opcode = 0x2 if binary else 0x1
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        transport.write(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % (self._path.encode(), base64.b64encode(os.urandom(16)))
        )

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        buffer = self._buffer + data if self._buffer else data
        if not self.opened.done():
            head, separator, buffer = buffer.partition(b"\r\n\r\n")
            if not separator:
                self._buffer = head
                return
            if b" 101 " not in head[:16]:
                self.opened.set_exception(ConnectionError(head.decode(errors="replace")))
                return
            self.opened.set_result(None)
        start = 0
        while (found := _frame(buffer, start)) is not None:
            opcode, body, start = found
            if opcode < _CLOSE:
                self._hear(body, now)
            elif opcode == _PING:
                self.pings += 1
                self._write(_PONG, body)
            elif opcode == _CLOSE and self._transport is not None:
                self._transport.close()
        self._buffer = buffer[start:]

    def send(self, text: bytes) -> None:
        self._write(self._opcode, text)

    def send_frame(self, frame_type: str, data: dict[str, Any], frame_id: str | None = None) -> None:
        """One frame of this project's protocol."""
        frame: dict[str, Any] = {"type": frame_type, "data": data}
        if frame_id is not None:
            frame["id"] = frame_id
        self.send(msgspec.json.encode(frame))

    def drop(self) -> None:
        """Without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, opcode: int, body: bytes) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(masked(opcode, body))


def masked(opcode: int, body: bytes) -> bytes:
    """A whole frame from a client. The mask is all zero: it guards proxies, and there is none here."""
    if len(body) < _SHORT:
        head = bytes((0x80 | opcode, 0x80 | len(body)))
    elif len(body) < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | _SHORT)) + len(body).to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | _LONG)) + len(body).to_bytes(8, "big")
    return head + b"\0\0\0\0" + body


def _frame(buffer: bytes, start: int) -> tuple[int, bytes, int] | None:
    """The server's frame that begins at `start`: opcode, body, and where the next one begins. None: not whole yet."""
    if len(buffer) < start + 2:
        return None
    size, body = buffer[start + 1] & 0x7F, start + 2
    if size == _SHORT:
        size, body = int.from_bytes(buffer[start + 2 : start + 4], "big"), start + 4
    elif size == _LONG:
        size, body = int.from_bytes(buffer[start + 2 : start + 10], "big"), start + 10
    end = body + size
    if len(buffer) < end or body > len(buffer):
        return None
    return buffer[start] & 0xF, buffer[body:end], end


async def connected(port: int, path: str, hear: Hear, *, binary: bool = False) -> WebSocket:
    """An open connection. Raises `OSError` or `TimeoutError`."""
    async with asyncio.timeout(CONNECT_SECONDS):
        _, socket = await asyncio.get_running_loop().create_connection(
            lambda: WebSocket(path, hear, binary=binary), "127.0.0.1", port
        )
        await socket.opened
    return socket
