"""Clients that are a burden or a measure: slow readers, half-open connections, watchers of machines, and a prober.

The prober asks one cheap question of each gateway twice a second. What it noted is judged when all is over: was the
refusal there at once while NATS was away, and how soon did everything work again?
"""

import asyncio
import contextlib
import random
from typing import NamedTuple

from tests.chaos.following import Follower
from tests.chaos.journal import Promise
from tests.chaos.room import Room
from tests.chaos.transcripts import Asked, View
from tests.chaos.wire import Frame, Gone, Wire, Wires, opened
from tests.chaos.world import World

SLOW_ANSWERS = 4
SLOW_PAUSES = (1.0, 8.0)
SAMPLE_SECONDS = 20.0
RETRY_SECONDS = 0.5
# A dead peer is gone within 60 s; the rest is for a machine that is busy, and for a gateway that was frozen meanwhile.
HALF_OPEN_SECONDS = 75.0
PROBE_SECONDS = 0.5
PROBE_PATIENCE_SECONDS = 15.0


class SlowReader:
    """Asks for several long answers at once and reads nothing for a while; then all of them have to come complete."""

    def __init__(self, room: Room, seed: int) -> None:
        self._room = room
        self._chance = random.Random(f"{seed} slow")  # noqa: S311 (repeatable, guards nothing)
        self._count = 0

    async def run(self) -> None:
        while not self._room.ending.is_set():
            asked = [self._next() for _ in range(SLOW_ANSWERS)]
            await self._ask_and_stall(asked)
            wires = Wires(self._room.sockets, self._chance)
            async with wires.closed_at_last():
                for one in asked:
                    await Follower(self._room, View(one), wires, self._chance, f"slow/{self._count}").follow()

    def _next(self) -> Asked:
        self._count += 1
        request_id = f"slow-{self._count}"
        asked = Asked(request_id, None, f"devagar {request_id}", "tokens-2500", self._room.journal.now())
        self._room.asked[request_id] = asked
        return asked

    async def _ask_and_stall(self, asked: list[Asked]) -> None:
        gateway = self._chance.choice(sorted(self._room.sockets))
        try:
            async with opened(self._room.sockets[gateway], gateway, slow=True) as wire:
                for one in asked:
                    await wire.send("chat:send", one.data(), frame_id=f"{one.request_id}.stalled.1")
                await asyncio.sleep(self._chance.uniform(*SLOW_PAUSES))
                self._room.journal.count("readers that stalled")
        except Gone as gone:
            self._room.journal.count(f"stalled readers closed with {gone.code}")


async def watch_machines(room: Room, name: str, seed: int) -> None:
    """Follows the samples of every host; samples go on after whatever happened."""
    chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
    wires = Wires(room.sockets, chance)
    async with wires.closed_at_last():
        while True:
            wire = await wires.get()
            with contextlib.suppress(Gone, TimeoutError):
                await _count_samples(room, wire)
            await wires.lost()
            await asyncio.sleep(RETRY_SECONDS)


async def _count_samples(room: Room, wire: Wire) -> None:
    """Until an error, a silence or the end of the connection."""
    await wire.send("monitoring:subscribe", {"intervalSeconds": 1})
    while (frame := await wire.frame(SAMPLE_SECONDS))["type"] != "error":
        if frame["type"] == "metrics":
            room.journal.count("samples of machines seen")


async def stay_half_open(room: Room, world: World, gateway: str) -> None:
    """A peer that is there and yet dead: neither data nor goodbye. Its gateway has to let go of it by itself."""
    async with world.own_link(gateway) as (link, url):
        began = room.journal.now()
        try:
            async with opened(url, gateway) as wire:
                await wire.send("monitoring:subscribe", {"intervalSeconds": 1})
                link.freeze()
                await asyncio.sleep(HALF_OPEN_SECONDS)
                link.mend()
                # What was sent before the end comes first.
                while True:
                    await wire.frame(3)
        except Gone:
            hit = room.journal.hit(began, room.journal.now(), targets={gateway})
            room.journal.count(f"half-open connections {'ended by a fault' if hit else 'let go by their gateway'}")
        except TimeoutError:
            if not room.journal.hit(began, room.journal.now(), targets={gateway}):
                text = f"{gateway} still holds a connection that was dead for {HALF_OPEN_SECONDS:g} s"
                room.journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=gateway, since=began)


class Probe(NamedTuple):
    """One question and what came of it: `code` is the error's, "" an answer, None nothing at all."""

    gateway: str
    sent_at: float
    seconds: float
    code: str | None
    retryable: bool


class Prober:
    """Asks each gateway, past every link, for one message of history."""

    def __init__(self, room: Room, probes: dict[str, str]) -> None:
        self._room = room
        self.urls = {name: f"{probes[name].replace('http://', 'ws://')}/ws" for name in room.sockets}
        self.probes: list[Probe] = []
        self.closed: list[tuple[str, float]] = []
        """Gateway, and when it closed this client's connection."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for gateway in self.urls:
                group.create_task(self._run(gateway))

    async def _run(self, gateway: str) -> None:
        while True:
            try:
                async with opened(self.urls[gateway], gateway) as wire:
                    for number in range(1_000_000):
                        await self._ask(gateway, wire, str(number))
                        await asyncio.sleep(PROBE_SECONDS)
            except Gone:
                self.closed.append((gateway, self._room.journal.now()))
                await asyncio.sleep(PROBE_SECONDS)

    async def _ask(self, gateway: str, wire: Wire, number: str) -> None:
        journal = self._room.journal
        sent_at = journal.now()
        await wire.send("chat:history", {"limit": 1}, frame_id=number)
        try:
            frame = await wire.answer(number, PROBE_PATIENCE_SECONDS)
        except TimeoutError:
            self.probes.append(Probe(gateway, sent_at, PROBE_PATIENCE_SECONDS, None, retryable=False))
            return
        data: Frame = frame["data"] if frame["type"] == "error" else {"code": "", "retryable": False}
        took = journal.now() - sent_at
        self.probes.append(Probe(gateway, sent_at, took, data["code"], retryable=data["retryable"]))
