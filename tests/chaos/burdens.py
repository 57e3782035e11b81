"""Clients that are a burden: slow readers, and connections that are half open. What they cost is looked at outside.

slow reader ── asks for much, reads nothing ──▶ gateway: merges, then closes with 4102 ─▶ resumes elsewhere, complete
half open   ── link frozen for good ──────────▶ gateway: lets go of it within 60 s
"""

import asyncio
import random

import psutil

from tests.chaos.following import Follower
from tests.chaos.journal import Promise
from tests.chaos.room import Room
from tests.chaos.transcripts import Asked, View
from tests.chaos.wire import Gone, Wire, Wires, opened
from tests.chaos.world import World

SLOW_ANSWERS = 4
SLOW_PAUSES = (1.0, 8.0)
STUBBORN_SHARE = 0.5
# How long a reader that takes nothing keeps asking; its gateway's bound is reached in a few seconds.
STUBBORN_SECONDS = 20.0
ASK_SECONDS = 0.01
LOOK_SECONDS = 0.25
RETRY_SECONDS = 0.5
# Promised, for one connection that is not read; the other clients of the suite read at once.
MOST_BYTES = 2 * 1024**2
# A page does not fit any more when so much of the 1 MiB waits. Its gateway closes it in the same moment.
FULL_BYTES = 900 * 1024
FULL_SECONDS = 5.0
TOO_SLOW = "stalled readers closed with 4102"
HALF_OPEN_SECONDS = 60.0
# A run that is shorter proves nothing about it.
SLOW_RUN_SECONDS = 170.0


class SlowReader:
    """Asks for several long answers at once and reads nothing for a while, or until it is closed for that.

    Then all of them have to come complete.
    """

    def __init__(self, room: Room, world: World, seed: int) -> None:
        self._room = room
        self._world = world
        self._chance = random.Random(f"{seed} slow")  # noqa: S311 (repeatable, guards nothing)
        self._count = 0
        self._full_since: float | None = None
        self._conversation: int | None = None
        """A long one, to ask for again and again."""

    async def run(self) -> None:
        """Until the room is ending."""
        while not self._room.ending.is_set():
            asked = [self._next(self._conversation), *(self._next(None) for _ in range(SLOW_ANSWERS - 1))]
            await self._ask_and_stall(asked)
            wires = Wires(self._room.sockets, self._chance)
            async with wires.closed_at_last():
                for one in asked:
                    view = View(one)
                    await Follower(self._room, view, wires, self._chance, f"slow/{self._count}").follow()
                    if view.message is not None and self._conversation is None:
                        self._conversation = view.message["conversationId"]

    def _next(self, conversation: int | None) -> Asked:
        self._count += 1
        request_id = f"slow-{self._count}"
        asked = Asked(request_id, conversation, f"devagar {request_id}", "tokens-2500", self._room.journal.now())
        self._room.asked[request_id] = asked
        return asked

    async def _ask_and_stall(self, asked: list[Asked]) -> None:
        gateway = self._chance.choice(sorted(self._room.sockets))
        # Drawn also where it is not used, so that a seed gives the same course.
        stubborn, pause = self._chance.random() < STUBBORN_SHARE, self._chance.uniform(*SLOW_PAUSES)
        try:
            async with opened(self._room.sockets[gateway], gateway, slow=True) as wire:
                for one in asked:
                    await wire.send("chat:send", one.data(), frame_id=f"{one.request_id}.stalled.1")
                if stubborn and self._conversation is not None:
                    await self._read_nothing(wire, self._conversation)
                else:
                    await asyncio.sleep(pause)
                self._room.journal.count("readers that stalled")
        except Gone as gone:
            self._room.journal.count(f"stalled readers closed with {gone.code}")

    async def _read_nothing(self, wire: Wire, conversation: int) -> None:
        """Asks on and on; when its gateway says that it has closed it, reads what is left and raises `Gone`."""
        journal, began = self._room.journal, self._room.journal.now()
        self._full_since = None
        page = {"conversationId": conversation, "limit": 200}
        asking = asyncio.create_task(_ask_on(wire, page))
        before = await self._closed(wire.gateway)
        try:
            while (closed := await self._closed(wire.gateway)) is None or before is None or closed <= before:
                if before is None or (closed is not None and closed < before):
                    before = closed  # It was away, or is another process now.
                if self._full_seconds() > FULL_SECONDS and not self._disturbed(wire.gateway):
                    text = f"a reader that takes nothing was not closed within {FULL_SECONDS:g} s of a full queue"
                    journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=wire.gateway, since=began)
                    return
                if journal.now() - began > STUBBORN_SECONDS:
                    journal.count("stubborn readers that were never closed")
                    return
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            asking.cancel()
            await asyncio.wait([asking])
        journal.took("slow reader: closed after", journal.now() - began)
        try:
            while True:
                await wire.frame(LOOK_SECONDS * 8)
        except TimeoutError:
            # Its link or its gateway is frozen just now.
            journal.count("stalled readers that could not read their goodbye")

    def _full_seconds(self) -> float:
        return 0.0 if self._full_since is None else self._room.journal.now() - self._full_since

    def _disturbed(self, gateway: str) -> bool:
        """Whether the queue may just have stopped growing because nobody answers."""
        now = self._room.journal.now()
        kinds, way = {"chat_worker", "nats", "database"}, {gateway, f"clients={gateway}", f"{gateway}=nats"}
        return self._room.journal.hit(now - 2 * FULL_SECONDS, now, kinds=kinds, targets=way)

    async def _closed(self, gateway: str) -> float | None:
        """How many it has closed for being too slow; None: it does not answer. Looks at what waits there, too."""
        counted = await self._world.metrics(gateway)
        if counted is None:
            self._full_since = None
            return None
        waiting = counted["gateway_send_queue_bytes"]
        journal = self._room.journal
        if waiting < FULL_BYTES:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = journal.now()
        journal.highest["KiB waiting for a slow reader"] = max(
            journal.highest["KiB waiting for a slow reader"], waiting / 1024
        )
        if waiting > MOST_BYTES:
            text = f"{waiting:.0f} bytes wait in {gateway} while one client does not read"
            journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=gateway)
        return counted.get('gateway_connections_closed_total{code="too_slow"}', 0.0)


async def _ask_on(wire: Wire, page: dict[str, int]) -> None:
    try:
        while True:
            await wire.send("chat:history", page)
            await asyncio.sleep(ASK_SECONDS)
    except Gone:
        return


async def stay_half_open(room: Room, world: World, gateway: str) -> None:
    """A peer that is there and yet dead, again and again: neither data nor goodbye. Its gateway has to let go of it."""
    while not room.ending.is_set():
        async with world.own_link(gateway) as (link, url):
            try:
                async with opened(url, gateway) as wire:
                    await wire.send("monitoring:subscribe", {"intervalSeconds": 1})
                    link.freeze()
                    await _until_gone(room, world, gateway, link.ports_behind())
            except Gone:
                await asyncio.sleep(RETRY_SECONDS)


async def _until_gone(room: Room, world: World, gateway: str, ports: set[int]) -> None:
    """`ports`: where the connection comes from, as the gateway's system sees it."""
    journal = room.journal
    began = journal.now()
    while _held(world.parts[gateway].pid, ports):
        if room.ending.is_set() or journal.hit(began, journal.now(), targets={gateway}):
            journal.count("half-open connections ended by something else")
            return
        if journal.now() - began > HALF_OPEN_SECONDS:
            text = f"{gateway} still holds a connection that has been dead for {HALF_OPEN_SECONDS:g} s"
            journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=gateway, since=began)
            return
        await asyncio.sleep(LOOK_SECONDS)
    if not journal.hit(began, journal.now(), targets={gateway}):
        journal.took("half-open connection: gone after", journal.now() - began)


def _held(pid: int | None, ports: set[int]) -> bool:
    """Whether this process has a connection from one of these ports."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_ESTABLISHED and one.raddr.port in ports for one in connections)


def check_slow_readers(room: Room, *, seconds: float) -> None:
    """A run long enough has seen what is promised; `seconds`: how long it was."""
    if seconds > SLOW_RUN_SECONDS and not room.journal.counted[TOO_SLOW]:
        room.journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, "in all the time no slow reader was closed with 4102")
