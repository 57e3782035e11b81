"""Clients that measure: watchers of machines, and a prober.

The prober asks one cheap question of each gateway twice a second. What it noted is judged when all is over: was the
refusal there at once while NATS was away, and how soon did everything work again?
"""

import asyncio
import contextlib
import random
from typing import NamedTuple

from tests.chaos.room import Room
from tests.chaos.wire import Frame, Gone, Wire, Wires, opened

SAMPLE_SECONDS = 20.0
RETRY_SECONDS = 0.5
PROBE_SECONDS = 0.5
PROBE_PATIENCE_SECONDS = 15.0


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
