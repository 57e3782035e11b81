"""Many clients of one server that all hear the same, and when each of them has heard it."""

import asyncio

from bench.websocket import Hear, WebSocket, connected

# Connections that are opened at once.
BATCH = 50


class Crowd:
    """`binary`: the frames are binary. `overhear` is given every frame that nobody is expected to hear."""

    def __init__(self, port: int, path: str, *, binary: bool = False, overhear: Hear | None = None) -> None:
        self.sockets: list[WebSocket] = []
        self._port = port
        self._path = path
        self._binary = binary
        self._overhear = overhear
        self._arrived_ns: list[int] = []
        self._expected = b""
        self._missing = 0
        self._everybody = asyncio.Event()

    async def grow(self, size: int) -> None:
        """Connects until there are so many. Raises `OSError` or `TimeoutError`."""
        while len(self.sockets) < size:
            first, last = len(self.sockets), min(len(self.sockets) + BATCH, size)
            self._arrived_ns += [0] * (last - first)
            self.sockets += await asyncio.gather(*(self._member(number) for number in range(first, last)))

    async def _member(self, number: int) -> WebSocket:
        def hear(text: bytes, now: int) -> None:
            if not self._expected:
                if self._overhear is not None:
                    self._overhear(text, now)
            elif self._arrived_ns[number] == 0 and text.startswith(self._expected):
                self._arrived_ns[number] = now
                self._missing -= 1
                if self._missing == 0:
                    self._everybody.set()

        return await connected(self._port, self._path, hear, binary=self._binary)

    def expect(self, beginning: bytes) -> None:
        """From now on, the first frame of each that begins like this."""
        self._expected = beginning
        self._arrived_ns = [0] * len(self.sockets)
        self._missing = len(self.sockets)
        self._everybody.clear()

    async def heard(self, seconds: float) -> list[int]:
        """When it came to each of them (`time.monotonic_ns`), once it has come to all. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            await self._everybody.wait()
        self._expected = b""
        return self._arrived_ns

    def lost(self) -> int:
        """Connections that have ended."""
        return sum(socket.closed for socket in self.sockets)

    def leave(self) -> None:
        for socket in self.sockets:
            socket.drop()
