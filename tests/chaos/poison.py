"""A request that kills every worker which takes it, as far as anybody can see: it must end, and block nobody.

asker ── poison ──▶ gateway ─▶ worker ── prompt ──▶ trap on its link to the model: SIGKILL
                                  └─ three times ─▶ error, and a dead letter
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from libs.bus.connection import BusUnavailable, connect
from libs.bus.last_values import last_value
from libs.contract import streams, subjects
from libs.contract.chat import MessageStatus
from libs.contract.generations import DeadLetter
from tests.chaos.following import Follower
from tests.chaos.invariants import GAVE_UP
from tests.chaos.journal import Fault, Promise
from tests.chaos.part import Part
from tests.chaos.room import Room
from tests.chaos.transcripts import Asked, View
from tests.chaos.wire import Wires
from tests.chaos.world import World
from tests.waiting import until_answer

# Three workers have to be given up for dead, and faults come on top of it.
END_SECONDS = 150.0
LETTER_SECONDS = 30.0
BACK_SECONDS = 60.0
# For so long not one answer to anybody else is not normal, if nothing else is wrong.
BLOCKED_SECONDS = 10.0
ATTEMPTS = 3


class Poison:
    """Asks for such answers, and holds the system to its word."""

    def __init__(self, room: Room, world: World, seed: int) -> None:
        self._room = room
        self._world = world
        self._journal = room.journal
        self._chance = random.Random(f"{seed} poison")  # noqa: S311 (repeatable, guards nothing)
        self._count = 0

    async def ask(self) -> None:
        """One poison request, from the question to the last worker that it has killed being there again."""
        self._count += 1
        request_id = f"poison-{self._count}"
        # In a conversation of its own: as history of another request it would be a poison too.
        asked = Asked(request_id, None, f"veneno {self._count}.", "echo", self._journal.now(), poison=True)
        self._room.asked[request_id] = asked
        view, ended_before = View(asked), self._room.ended()
        async with asyncio.TaskGroup() as reviving:
            with self._armed(asked, reviving):
                wires = Wires(self._room.sockets, self._chance)
                async with wires.closed_at_last():
                    await self._followed(Follower(self._room, view, wires, self._chance, request_id), asked)
            if view.over:
                self._check_others(asked, ended_before)
                await self._check_end(view)

    async def _followed(self, follower: Follower, asked: Asked) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                await follower.follow()
        except TimeoutError:
            self._broken(f"a poison request has not ended after {END_SECONDS:g} s", asked)

    @contextmanager
    def _armed(self, asked: Asked, reviving: asyncio.TaskGroup) -> Iterator[None]:
        """Whichever worker sends this question to its model server dies of it."""
        word = asked.message.encode()
        links = [link for link in self._world.links.values() if link.kind == "model_link"]

        def kill(worker: Part) -> None:
            if worker.running:
                worker.crash()
                self._journal.note(f"{worker.name} dies of it", about=asked.request_id)
                fault = self._journal.fault(worker.kind, worker.name, "poison")
                self._journal.lifted(fault)
                reviving.create_task(self._back(worker, fault))

        for link in links:
            worker = self._world.parts[link.name.partition("=")[0]]
            link.traps[word] = partial(kill, worker)
        try:
            yield
        finally:
            for link in links:
                del link.traps[word]

    async def _back(self, worker: Part, fault: Fault) -> None:
        try:
            await worker.until_ready(BACK_SECONDS)
        except TimeoutError:
            # Other faults keep it down. Whether everything comes back is judged when there are no more of them.
            self._journal.count("killed by a poison request, and long in coming back")
        self._journal.over(fault)

    def _check_others(self, asked: Asked, ended_before: int) -> None:
        """It is in nobody's way."""
        now = self._journal.now()
        others = self._room.ended() - ended_before - 1
        self._journal.count("poison requests ended")
        wrong = [fault for fault in self._journal.faults if fault.at > asked.at - BLOCKED_SECONDS]
        if others < 1 and now - asked.at > BLOCKED_SECONDS and all(fault.action == "poison" for fault in wrong):
            self._broken("while a poison request went round nobody else had an answer", asked)

    async def _check_end(self, view: View) -> None:
        asked, done = view.asked, view.done
        if done is None or asked.message_id is None:
            return  # It could not be followed to its end, which is told already.
        if done["status"] == MessageStatus.CANCELLED:
            return
        if done["status"] != MessageStatus.ERROR:
            self._broken(f"a poison request ended as {done['status']}", asked)
        elif done["finishReason"] != GAVE_UP:
            # The model server was away: nobody died of it.
            self._journal.count("poison requests refused by an absent model")
        else:
            await self._check_letter(asked, asked.message_id)

    async def _check_letter(self, asked: Asked, message_id: int) -> None:
        """A person can find out what happened."""
        found: list[DeadLetter] = []

        async def arrived() -> bool:
            url = ",".join(f"nats://127.0.0.1:{port}" for port in self._world.nats.ports)
            try:
                async with connect(url, name="dead letters", startup_seconds=2) as bus:
                    value = await last_value(bus, streams.CHAT_DEAD_LETTERS, subjects.chat_dead_letter(message_id))
            except BusUnavailable:
                return False
            if value is not None:
                found.append(msgspec.json.decode(value.payload, type=DeadLetter))
            return value is not None

        try:
            await until_answer(arrived, seconds=LETTER_SECONDS)
        except TimeoutError:
            if not self._journal.hit(asked.at, self._journal.now(), kinds={"nats"}):
                self._broken("a poison request was given up and left no dead letter", asked)
            return
        letter = found[0]
        self._journal.count("dead letters found")
        if (letter.request_id, letter.attempts) != (asked.request_id, ATTEMPTS) or not letter.reason:
            self._broken(f"the dead letter says {letter.request_id}, {letter.attempts}, {letter.reason!r}", asked)

    def _broken(self, what: str, asked: Asked) -> None:
        self._journal.broken(Promise.TAKEOVER, what, about=asked.request_id, since=asked.at)
