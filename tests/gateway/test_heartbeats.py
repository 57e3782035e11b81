"""The heart of a gateway: every socket has its turn, once a round, and never all of them at once."""

import asyncio
import time
from contextlib import suppress
from itertools import pairwise
from time import monotonic

from services.gateway.heartbeats import GROUPS, HEARTBEAT_SECONDS, Heartbeats
from tests.waiting import until

SOCKETS = 200
ROUND_SECONDS = 0.8


# 300 ms of the true 20 s: a collection of garbage, a page that was swapped out.
STANDSTILL_SECONDS = 0.3 / HEARTBEAT_SECONDS * ROUND_SECONDS


class Socket:
    """Remembers when it was beaten."""

    def __init__(self) -> None:
        self.group = 0
        self.beats: list[float] = []

    def beat(self) -> None:
        self.beats.append(monotonic())


async def test_each_has_its_turn_once_a_round_and_few_at_a_time() -> None:
    """Also if they have all come at the same moment; who has left is left alone."""
    heartbeats = Heartbeats(ROUND_SECONDS)
    sockets, left = [Socket() for _ in range(SOCKETS)], Socket()
    for socket in [*sockets, left]:
        heartbeats.add(socket)
    heartbeats.remove(left)
    beating = asyncio.create_task(heartbeats.run())
    await until(lambda: all(len(socket.beats) >= 3 for socket in sockets))
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    for socket in sockets:
        first, second, third = socket.beats[:3]
        assert min(second - first, third - second) >= ROUND_SECONDS * 0.95
    groups = {socket.group for socket in sockets}
    assert len(groups) == GROUPS
    assert all(sum(socket.group == group for socket in sockets) == SOCKETS / GROUPS for group in groups)
    assert not left.beats


async def test_beats_are_punctual_although_the_event_loop_stands_still_again_and_again() -> None:
    """Never two rounds' time without one: who hears none for so long takes its gateway for dead."""
    heartbeats, socket = Heartbeats(ROUND_SECONDS), Socket()
    heartbeats.add(socket)
    beating = asyncio.create_task(heartbeats.run())
    while len(socket.beats) < 4:
        time.sleep(STANDSTILL_SECONDS)  # noqa: ASYNC251 (what is tested)
        # Nine tenths of the time nothing runs.
        await asyncio.sleep(STANDSTILL_SECONDS / 9)
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    assert max(later - earlier for earlier, later in pairwise(socket.beats)) < 2 * ROUND_SECONDS
