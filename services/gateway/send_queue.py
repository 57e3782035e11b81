"""What waits for one client to read it: bounded, in order."""

import asyncio
from collections import deque


class SendQueue:
    """Finished frames for one connection. Past `max_bytes` it is `overflowed`, and takes nothing more."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[bytes] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self.waiting_bytes = 0
        self.overflowed = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Never waits. One frame always fits, however large, so that a long answer can be sent at all."""
        if self.overflowed.is_set():
            return
        if self._frames and self.waiting_bytes + len(frame) > self._max_bytes:
            self.overflowed.set()
            return
        self._frames.append(frame)
        self.waiting_bytes += len(frame)
        self._filled.set()

    async def get(self) -> bytes:
        """The next frame. It still counts as waiting until `sent` is called."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        return self._frames[0]

    def sent(self) -> None:
        """The frame that `get` gave is with the socket."""
        self.waiting_bytes -= len(self._frames.popleft())
        if not self._frames:
            self._emptied.set()

    async def emptied(self) -> None:
        """Waits until nothing waits."""
        while self._frames:
            self._emptied.clear()
            await self._emptied.wait()
