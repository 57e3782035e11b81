"""One heart for all sockets of a gateway: each is beaten every 20 s, so whoever is gone is noticed within 40 s.

The sockets stand in groups of the same size, beaten one after the other: no timer for each socket, and no moment at
which thousands are pinged at once, also when all have come back at the same time.
"""

import asyncio
from typing import Protocol

HEARTBEAT_SECONDS = 20.0
GROUPS = 40


class Beaten(Protocol):
    """A socket."""

    group: int
    """For `Heartbeats` alone."""

    def beat(self) -> None: ...


class Heartbeats:
    """Of one gateway. Each socket is beaten every `seconds`."""

    def __init__(self, seconds: float = HEARTBEAT_SECONDS) -> None:
        self._pause = seconds / GROUPS
        self._groups: list[set[Beaten]] = [set() for _ in range(GROUPS)]
        self._newest = 0

    def add(self, socket: Beaten) -> None:
        self._newest = (self._newest + 1) % GROUPS
        socket.group = self._newest
        self._groups[socket.group].add(socket)

    def remove(self, socket: Beaten) -> None:
        self._groups[socket.group].discard(socket)

    async def run(self) -> None:
        """For ever. By pauses, not by the clock: after a standstill nobody has missed a beat that was not sent."""
        while True:
            for group in self._groups:
                await asyncio.sleep(self._pause)
                for socket in list(group):
                    socket.beat()
