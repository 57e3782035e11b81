"""uvicorn's WebSocket, with a way past ASGI for what a client gets: finished text frames, written at once.

Every token and every update goes this way. Through ASGI each frame wakes a task, is decoded to text, encoded again and
copied: measured 70 µs of gateway CPU a frame, and 20 this way (a sample of 2 KB to
1,000 sockets).
"""

from collections.abc import Callable

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from libs.contract.close_codes import CloseCode
from services.gateway import metrics

_EXTENSION = "orquestrador.write"

# RFC 6455, 5.2: a final text frame; servers do not mask. Up to 125 bytes the length stands in the second byte.
_TEXT = 0x81
_SHORT = 125
_TWO_BYTES, _EIGHT_BYTES = 126, 127

Write = Callable[[bytes], bool]


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For uvicorn. The application finds `write` by `writer_of`."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and not self.handshake_complete:
            self.scope["extensions"][_EXTENSION] = {"write": self.write}

    def keepalive_timeout(self) -> None:
        """A ping was not answered in time. uvicorn's own closes with 1011, which says that the server is at fault."""
        self.pong_timer = None
        self.pending_ping_payload = None
        if self.close_sent or self.transport.is_closing():
            return
        metrics.CLOSED.labels(CloseCode.HEARTBEAT_MISSED.name.lower()).inc()
        self.conn.fail(CloseCode.HEARTBEAT_MISSED, "heartbeat missed")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    def write(self, payload: bytes) -> bool:
        """Sends UTF-8 text as one frame, now. False: the client does not read fast enough, or is leaving.

        The bytes of one pass of the event loop leave in one system call, however many frames they are.
        """
        if not self.writable.is_set() or self.close_sent or not self.handshake_complete or self.transport.is_closing():
            return False
        self.transport.write(_header(len(payload)) + payload)
        return True


def writer_of(websocket: WebSocket) -> Write:
    """The way past ASGI of a connection that `WebSocketProtocol` has accepted."""
    write: Write = websocket.scope["extensions"][_EXTENSION]["write"]
    return write


def _header(length: int) -> bytes:
    if length <= _SHORT:
        return bytes((_TEXT, length))
    if length < 1 << 16:
        return bytes((_TEXT, _TWO_BYTES)) + length.to_bytes(2)
    return bytes((_TEXT, _EIGHT_BYTES)) + length.to_bytes(8)
