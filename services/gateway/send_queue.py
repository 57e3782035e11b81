"""What waits for one client to read it: bounded, in order; of what is waiting, pieces of one answer become one."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Struct

from libs.contract import frames
from libs.contract.chat import ChatStreaming
from services.gateway.places import Place

# A client that reads has less than this before it, and gets every piece as it came.
PRESSED_BYTES = 16 * 1024
PRESSED_FRAMES = 32


class SendQueue:
    """Finished frames for one connection. Past `max_bytes` it is `overflowed`, and takes nothing more.

    While nothing waits, a frame goes to `write`, which says whether the socket has taken it; otherwise it waits until
    `flush` is called.
    """

    def __init__(self, max_bytes: int, *, write: Callable[[bytes], bool]) -> None:
        self._max_bytes = max_bytes
        self._write = write
        self._frames: deque[_Waiting] = deque()
        self._newest: dict[str, _Waiting] = {}
        # The last waiting piece of each answer, while nothing of that answer waits behind it.
        self._last: dict[tuple[int, bytes | None], _Waiting] = {}
        self._emptied: asyncio.Event | None = None
        self.waiting_bytes = 0
        self.overflowed = False

    def put(self, frame: bytes, *, newest_of: str | None = None, place: Place | None = None) -> None:
        """Never waits. One frame always fits, however large, so that a long answer can be sent at all.

        A frame that waits under the same `newest_of` is replaced where it stands: only the newest is of use. Under
        pressure the piece of an answer at `place` joins the one before it, if that still waits: nothing is lost.
        """
        if self.overflowed or (not self._frames and self._write(frame)):
            return
        if newest_of is not None and (older := self._newest.get(newest_of)) is not None:
            self.waiting_bytes += len(frame) - older.bytes
            older.frame, older.bytes = frame, len(frame)
            return
        if self._frames and self.waiting_bytes + len(frame) > self._max_bytes:
            self.overflowed = True
            return
        if place is not None and self._pressed and self._joins(frame, place):
            return
        waiting = _Waiting(frame, newest_of, place)
        if newest_of is not None:
            self._newest[newest_of] = waiting
        if place is not None:
            self._last[place.message_id, place.frame_id] = waiting
        self._frames.append(waiting)
        self.waiting_bytes += len(frame)

    def flush(self) -> None:
        """The socket may take more again."""
        while self._frames and self._write(self.get()):
            self.sent()

    def get(self) -> bytes:
        """The next of what waits. It still counts as waiting until `sent` is called, and does not change any more."""
        first = self._frames[0]
        if first.newest_of is not None:
            self._newest.pop(first.newest_of, None)
        if first.place is not None:
            key = (first.place.message_id, first.place.frame_id)
            if self._last.get(key) is first:
                del self._last[key]
            self.waiting_bytes += first.write()
        return first.frame

    def sent(self) -> None:
        """The frame that `get` gave is with the socket."""
        self.waiting_bytes -= self._frames.popleft().bytes
        if not self._frames and self._emptied is not None:
            self._emptied.set()

    def clear(self) -> None:
        """Forgets all that waits; nobody takes it any more."""
        self._frames.clear()
        self._newest.clear()
        self._last.clear()
        self.waiting_bytes = 0

    async def emptied(self) -> None:
        """Waits until nothing waits."""
        while self._frames:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    @property
    def _pressed(self) -> bool:
        return self.waiting_bytes > PRESSED_BYTES or len(self._frames) > PRESSED_FRAMES

    def _joins(self, frame: bytes, place: Place) -> bool:
        before = self._last.get((place.message_id, place.frame_id))
        if before is None or not before.is_followed_by(place):
            return False
        self.waiting_bytes += before.join(frame, place)
        return True


class _Piece(Struct, frozen=True):
    data: ChatStreaming


_pieces = msgspec.json.Decoder(_Piece)
_encoder = msgspec.json.Encoder()


class _Waiting:
    """One frame, or the pieces of one answer that will be one frame: decoded once, and written when its turn comes."""

    __slots__ = ("bytes", "frame", "newest_of", "pieces", "place")

    def __init__(self, frame: bytes, newest_of: str | None, place: Place | None) -> None:
        self.frame = frame
        self.bytes = len(frame)
        self.newest_of = newest_of
        self.place = place
        """Of the last piece."""
        self.pieces: list[ChatStreaming] = []

    def is_followed_by(self, place: Place) -> bool:
        last = self.place
        return (
            last is not None
            and not (last.done or place.done or place.reset)
            and (last.epoch, last.seq + 1) == (place.epoch, place.first)
        )

    def join(self, frame: bytes, place: Place) -> int:
        """Takes one more piece. By how many bytes this frame grows, nearly."""
        if not self.pieces:
            self.pieces.append(_pieces.decode(self.frame).data)
        piece = _pieces.decode(frame).data
        self.pieces.append(piece)
        self.place = place
        grown = len(_encoder.encode(piece.chunk)) + len(_encoder.encode(piece.reasoning or "")) - len('""""')
        self.bytes += grown
        return grown

    def write(self) -> int:
        """Makes its pieces one frame. By how many bytes it has grown."""
        if self.place is None or not self.pieces:
            return 0
        first, frame_id = self.pieces[0], self.place.frame_id
        whole = msgspec.structs.replace(
            first,
            seq=self.place.seq,
            from_seq=None if first.reset else first.from_seq or first.seq,
            chunk="".join(piece.chunk for piece in self.pieces),
            reasoning="".join(piece.reasoning or "" for piece in self.pieces) or None,
        )
        self.pieces = []
        self.frame = frames.encode(
            "chat:streaming", whole, frame_id=None if frame_id is None else msgspec.json.decode(frame_id)
        )
        grown = len(self.frame) - self.bytes
        self.bytes = len(self.frame)
        return grown
