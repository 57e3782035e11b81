"""One POST on one connection, and its response as it comes: nothing between the socket and who reads it but a parser.

Origin.post ── request ──▶ model server
Exchange ◀── read, or as it comes ── Response ◀── httptools ◀── data_received ── bytes

httptools (llhttp, which Node.js reads HTTP with) knows the protocol. A general client costs more for each read of a
token stream than all else that the worker does with it (ADR 17).
"""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import cast

import httpx
from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpResponseParser

# RFC 8305, 5: the next address of a name is tried beside one that does not answer.
_NEXT_ADDRESS_SECONDS = 0.25
# A head is a few hundred bytes, and a trailer less; this bounds what a broken server can make us keep.
_MAX_HEAD_BYTES = 64 * 1024
# More is left to the kernel, and so to the server.
_MAX_UNREAD_BYTES = 256 * 1024
# A server that sends faster than this is read would keep the event loop for itself: libuv reads one socket 32 times
# before it looks at another (measured with 8 of them: 0.5 s). A token is 250 bytes.
_FLOOD_BYTES = 64 * 1024
# How often an overdue wait is looked for again while nobody waits: the reader is busy, the server is not to blame.
_LOOK_AGAIN_SECONDS = 1.0
_FINAL_STATUS = 200


class Broken(Exception):
    """The connection ended before the response did, or what came is not HTTP."""


class DeadlinePassedError(Exception):
    """Nothing came in time."""


class Response(asyncio.Protocol):
    """What comes back. Made by `Origin.post`; `close` it."""

    def __init__(self) -> None:
        self.status: int | None = None
        """None: the head is not there yet."""
        self.headers: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        # Of a head, or of a trailer: what has come since the last of the body.
        self._head_bytes = 0
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._ended = False
        self._broken = False
        self._take: Callable[[bytes], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0
        # Kept beside the timer, since uvloop gives no `TimerHandle` for what is due within half a millisecond.
        self._rings_at = math.inf
        self._timer: asyncio.Handle | None = None

    def set_due(self, due: float) -> None:
        """When the waiting has to have an end (loop time, seconds). Cheap: the timer is only moved forward."""
        self._due = due
        if due < self._rings_at:
            self._arm(due)

    async def read(self) -> bytes:
        """The body's next bytes; none: that was all. What came before the end is read before its failure is raised.

        Raises `Broken`, or `DeadlinePassedError`.
        """
        while not self._unread:
            if self._ended:
                return b""
            if self._broken:
                raise Broken
            await self._wait()
        return self._taken()

    async def hand_on(self, take: Callable[[bytes], bool]) -> None:
        """Gives `take` the rest of the body, each read as it comes, until it says that this is enough.

        No task has a turn for it: that costs as much as to read. Raises as `read`, and what `take` raises.
        """
        if self._unread and not take(self._taken()):
            return
        self._take = take
        if not self._over:
            await self._wait()
        if self._broken:
            raise Broken

    def send(self, request: bytes) -> None:
        """Once: the connection is for one request alone (ADR 9)."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Hangs up at once, wherever it stands."""
        # Or what has ended would stay in memory until the collector finds the ring of response and parser.
        self._take = None
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # ---- From the loop ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            # What follows a whole response is nobody's.
            self._broken = not self._ended
        if self._head_bytes > _MAX_HEAD_BYTES and not self._ended:
            self._broken = True
        self._wake()
        if len(data) >= _FLOOD_BYTES and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._go_on)

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._over:
            # Without a length the end of the connection is the end of the body (RFC 9112, 6.3).
            self._ended = _error is None and self._until_closed
            self._broken = not self._ended
        self._wake()

    # ---- From the parser ----------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None:  # Otherwise it is a trailer, or of what follows the response.
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < _FINAL_STATUS:
            self.headers.clear()
        elif self.status is None:
            self.status = status

    def on_body(self, data: bytes) -> None:
        if self._ended:
            return
        self._head_bytes = 0
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _MAX_UNREAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._ended = self.status is not None

    # ---- What is unread, and who waits for it -------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._ended or self._broken

    @property
    def _until_closed(self) -> bool:
        return self.status is not None and not self.headers.keys() & {"content-length", "transfer-encoding"}

    def _taken(self) -> bytes:
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        if self._paused:
            self._paused = False
            self._go_on()
        return data

    def _go_on(self) -> None:
        if self._transport is not None and not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._take is not None and self._unread:
            try:
                if not self._take(self._taken()):
                    # Enough: whether more would have come, or how it ends, is nobody's matter.
                    self._ended, self._broken = True, False
            except Exception as error:  # noqa: BLE001 (who waits for it raises it)
                self._waiter.set_exception(error)
                return
        if self._unread or self._over:
            self._waiter.set_result(None)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        # Only looked at when it rings: `asyncio.timeout` around each read costs 7 to 10 µs (Python 3.11).
        now = self._loop.time()
        if now < self._due:
            self._arm(self._due)
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(DeadlinePassedError())
        self._arm(now + _LOOK_AGAIN_SECONDS)


class Origin:
    """A server, and the headers that all requests to it have."""

    def __init__(self, root: str, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        """`tls`: for a root that begins with https."""
        url = httpx.URL(root)
        self._host = url.raw_host.decode()
        self._port = url.port or (80 if tls is None else 443)
        self._path = url.raw_path.decode().rstrip("/")
        self._tls = tls
        own = {"host": url.netloc.decode(), "connection": "close", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in own.items())

    async def post(self, path: str, body: bytes) -> Response:
        """Connects and sends JSON. Raises `OSError`, or `UnicodeError` for a name that none can have."""
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
        _, response = await loop.create_connection(
            Response, sock=connected, ssl=self._tls, server_hostname=None if self._tls is None else self._host
        )
        head = (
            f"POST {self._path}{path} HTTP/1.1\r\n{self._head}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        response.send(head.encode("ascii") + body)
        return response
