"""What waits for one client to read it: bounded, in order."""

import asyncio
from collections import deque


class SendQueue:
    """Finished frames for one connection. Past `max_bytes` it is `overflowed`, and takes nothing more."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[_Waiting] = deque()
        self._newest: dict[str, _Waiting] = {}
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.waiting_bytes = 0
        self.overflowed = asyncio.Event()

    def put(self, frame: bytes, *, newest_of: str | None = None) -> None:
        """Never waits. One frame always fits, however large, so that a long answer can be sent at all.

        A frame that waits under the same `newest_of` is replaced where it stands: only the newest is of use.
        """
        if self.overflowed.is_set():
            return
        if newest_of is not None and (older := self._newest.get(newest_of)) is not None:
            self.waiting_bytes += len(frame) - len(older.frame)
            older.frame = frame
            return
        if self._frames and self.waiting_bytes + len(frame) > self._max_bytes:
            self.overflowed.set()
            return
        waiting = _Waiting(frame, newest_of)
        if newest_of is not None:
            self._newest[newest_of] = waiting
        self._frames.append(waiting)
        self.waiting_bytes += len(frame)
        self._filled.set()

    async def get(self) -> bytes:
        """The next frame. It still counts as waiting until `sent` is called, and is not replaced any more."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        first = self._frames[0]
        if first.newest_of is not None:
            self._newest.pop(first.newest_of, None)
        return first.frame

    def sent(self) -> None:
        """The frame that `get` gave is with the socket."""
        self.waiting_bytes -= len(self._frames.popleft().frame)
        if not self._frames:
            self._emptied.set()

    async def emptied(self) -> None:
        """Waits until nothing waits."""
        while self._frames:
            self._emptied.clear()
            await self._emptied.wait()


class _Waiting:
    __slots__ = ("frame", "newest_of")

    def __init__(self, frame: bytes, newest_of: str | None) -> None:
        self.frame = frame
        self.newest_of = newest_of
