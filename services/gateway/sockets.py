"""A client's WebSocket, from uvicorn's transport straight to its `Connection`: no ASGI, no task, no queue between them.

uvicorn ── request to upgrade ─▶ Socket ── a frame ──▶ Listener.hear  (a `Connection`)
client ◀═ a frame ══ transport ◀─ Socket.write, close ◀─ SendQueue, `Connection`

`websockets` knows the rules of the handshake and of what clients send (RFC 6455), and does no I/O. What clients get is
finished text: a header of two to ten bytes, and out (ADR 13, 15).
"""

import asyncio
from typing import Any, Protocol, cast

from websockets.frames import CloseCode as Rfc6455Code
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLOSING, OPEN, Side
from websockets.protocol import Protocol as Rfc6455
from websockets.server import ServerProtocol

from libs.contract.close_codes import CloseCode
from services.gateway import metrics
from services.gateway.heartbeats import Heartbeats

PATH = "/ws"
# Frames over `max_frame_bytes` get an error frame and the socket lives; a frame over this is not even read (1009).
MAX_FRAME_BYTES = 1024**2
# So much later a client may still read why it was sent away. It holds nothing of ours meanwhile but what is on its way.
CLOSE_SECONDS = 30.0

# RFC 6455, 5.2: a final text frame; servers do not mask. Up to 125 bytes the length stands in the second byte.
_TEXT = 0x81
_SHORT = 125
_TWO_BYTES, _EIGHT_BYTES = 126, 127
_PING = bytes((0x89, 0))


class Listener(Protocol):
    """Whom a socket is for."""

    def hear(self, frame: str | bytes) -> None:
        """A whole frame of the client: text, or what is none."""

    def go_on(self) -> None:
        """The client reads again: `write` takes more."""

    def leave(self) -> None:
        """The client has left, or is gone. May be said twice."""


class Door(Protocol):
    """Where new clients come in."""

    def welcome(self, socket: "Socket") -> Listener:
        """A client whose handshake is done."""


class Socket(asyncio.Protocol):
    """Made by uvicorn for each request to upgrade, which is the first that it receives."""

    __slots__ = (
        "_all",
        "_begun",
        "_deadline",
        "_door",
        "_heartbeats",
        "_listener",
        "_paused",
        "_pong",
        "_rfc",
        "_takes",
        "_text",
        "_transport",
        "_unanswered",
        "group",
    )

    _transport: asyncio.Transport

    def __init__(self, door: Door, heartbeats: Heartbeats, *, server_state: Any, **_uvicorn: object) -> None:
        self.group = 0
        self._door = door
        self._heartbeats = heartbeats
        # uvicorn waits for these when it stops.
        self._all: set[Any] = server_state.connections
        self._rfc: Rfc6455 = ServerProtocol()
        self._listener: Listener | None = None
        # What has come of a frame in fragments, and whether a frame is text.
        self._begun: bytearray | None = None
        self._text = False
        # The connection is open, and the client reads: more may be written.
        self._takes = False
        # What it is to hear when it reads again: one for all its pings until then (RFC 6455, 5.5.3).
        self._pong = b""
        # We do not read it.
        self._paused = False
        # It has not answered the last heartbeat yet.
        self._unanswered = False
        self._deadline: asyncio.TimerHandle | None = None

    # ---- For its `Connection` -----------------------------------------------------------------------------------

    def write(self, payload: bytes) -> bool:
        """Sends UTF-8 text as one frame, now. False: the client does not read fast enough, or is leaving.

        The bytes of one pass of the event loop leave in one system call, however many frames they are.
        """
        if not self._takes or self._transport.is_closing():
            return False
        self._transport.write(_header(len(payload)) + payload)
        return True

    def pause(self) -> None:
        """Reads nothing more of the client for now, so that it feels it."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again, and so may find the answer to a heartbeat."""
        if self._paused:
            self._paused = self._unanswered = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def close(self, code: int) -> None:
        """Says goodbye, behind all that is on its way."""
        self._takes = False
        if self._rfc.state is OPEN and not self._transport.is_closing():
            self._rfc.send_close(code)
            self._flush()
            # The client's answer is read.
            self.resume()
            self._cut_off_later()

    def drop(self) -> None:
        """Ends it without a word."""
        self._transport.abort()

    # ---- For the heartbeats -------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Who has not answered the ping before is gone, unless we do not read it; the others get the next one."""
        if self._paused or self._rfc.state is not OPEN or self._transport.is_closing():
            return
        if self._unanswered:
            metrics.CLOSED.labels(CloseCode.HEARTBEAT_MISSED.name.lower()).inc()
            self._rfc.fail(CloseCode.HEARTBEAT_MISSED, "heartbeat missed")
            self._hang_up()
        else:
            self._unanswered = True
            self._transport.write(_PING)

    # ---- For uvicorn and its transport --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        # After our goodbye nothing is said any more, only the end is heard.
        silent = self._rfc.state is CLOSING
        self._rfc.receive_data(data)
        for event in self._rfc.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            else:
                self._take(cast("Frame", event))
        if silent:
            self._rfc.data_to_send()
        elif self._takes or self._rfc.state is not OPEN:
            self._flush()
        else:
            # Answers to the pings of a client that does not read them would pile up here. The last one is enough.
            for told in self._rfc.data_to_send():
                self._pong = told
        if self._rfc.eof_sent:
            # Goodbye has been said on both sides, or what came is no WebSocket.
            self._hang_up()

    def eof_received(self) -> None:
        """It says nothing more, and has not said goodbye. It may never read what is on its way."""
        self._hang_up()

    def pause_writing(self) -> None:
        self._takes = False

    def resume_writing(self) -> None:
        if self._listener is not None and self._rfc.state is OPEN:
            self._takes = True
            if self._pong:
                self._transport.write(self._pong)
                self._pong = b""
            self._listener.go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._takes = False
        self._all.discard(self)
        self._heartbeats.remove(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._listener is not None:
            self._listener.leave()

    def shutdown(self) -> None:
        """uvicorn stops. By then `Connections.drain` has said goodbye."""
        self.close(Rfc6455Code.SERVICE_RESTART)
        self._transport.close()

    # ---- What the client sends ----------------------------------------------------------------------------------

    def _shake_hands(self, request: Request) -> None:
        handshake = cast("ServerProtocol", self._rfc)
        response = handshake.accept(request)
        if handshake.handshake_exc is None and request.path.partition("?")[0] != PATH:
            response = handshake.reject(403, "")
        handshake.send_response(response)
        if handshake.state is not OPEN:
            return
        self._flush()
        # A new one, because the other would keep the request with all its headers.
        self._rfc = Rfc6455(Side.SERVER, max_size=MAX_FRAME_BYTES)
        self._takes = True
        self._listener = self._door.welcome(self)
        self._heartbeats.add(self)

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._unanswered = False
        elif frame.opcode < Opcode.CLOSE:
            if frame.opcode is not Opcode.CONT:
                self._text = frame.opcode is Opcode.TEXT
            if self._begun is not None:
                # One piece of memory: as objects of their own, fragments of two bytes would cost twenty times as much.
                self._begun += frame.data
                if frame.fin:
                    whole, self._begun = bytes(self._begun), None
                    self._hear(whole)
            elif frame.fin:
                self._hear(bytes(frame.data))
            else:
                self._begun = bytearray(frame.data)

    def _hear(self, whole: bytes) -> None:
        if self._listener is None:
            return
        try:
            self._listener.hear(whole.decode() if self._text else whole)
        except UnicodeDecodeError as error:
            self._rfc.fail(Rfc6455Code.INVALID_DATA, f"{error.reason} at position {error.start}")

    # ---- Its end ------------------------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        """Nothing is read any more, and nothing said but what is on its way."""
        self._takes = False
        self._flush()
        self._transport.close()
        self._cut_off_later()
        if self._listener is not None:
            self._listener.leave()

    def _cut_off_later(self) -> None:
        """Also one that is closed: it waits for its client to read what is on its way."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _flush(self) -> None:
        for told in self._rfc.data_to_send():
            self._transport.write(told)


def _header(length: int) -> bytes:
    if length <= _SHORT:
        return bytes((_TEXT, length))
    if length < 1 << 16:
        return bytes((_TEXT, _TWO_BYTES)) + length.to_bytes(2)
    return bytes((_TEXT, _EIGHT_BYTES)) + length.to_bytes(8)
