"""Clients that chat: askers follow what they ask, leavers do not stay for it, tabs join what others have asked."""

import asyncio
import contextlib
import random

from tests.chaos.following import Follower
from tests.chaos.room import Room
from tests.chaos.transcripts import Asked, View
from tests.chaos.wire import Wires
from tests.waiting import until

MODELS = {"echo": 4, "unique-40-20": 4, "unique-100-25": 4, "unique-200-50": 2, "unique-300-100": 1}
PAUSE_SECONDS = 0.3
# Requests that are sent again although they are accepted.
REPEATED_SHARE = 0.2
ACCEPTED_SECONDS = 30.0


class Asker:
    """Asks one thing after the other, mostly in a conversation of its own."""

    def __init__(self, room: Room, name: str, seed: int) -> None:
        self._room = room
        self._name = name
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
        self._wires = Wires(room.sockets, self._chance)
        self._conversation: int | None = None
        self._count = 0

    async def run(self) -> None:
        """Until the room is ending; the last answer is followed to its end."""
        async with self._wires.closed_at_last():
            while not self._room.ending.is_set():
                view = View(self._next())
                await Follower(self._room, view, self._wires, self._chance, self._name).follow()
                if self._conversation is None and view.message is not None:
                    self._conversation = view.message["conversationId"]
                await asyncio.sleep(self._chance.uniform(0, PAUSE_SECONDS))

    def _next(self) -> Asked:
        self._count += 1
        request_id = f"{self._name}-{self._count}"
        model = self._chance.choices(list(MODELS), list(MODELS.values()))[0]
        draw = self._chance.random()
        # Sometimes the conversation that all share, where one waits for the other; sometimes a new one.
        conversation = 1 if draw < 0.1 else None if draw < 0.2 else self._conversation
        repeated = self._chance.random() < REPEATED_SHARE
        asked = Asked(request_id, conversation, f"pergunta {request_id} 😀", model, self._room.journal.now(), repeated)
        self._room.asked[request_id] = asked
        return asked


class Leaver:
    """Asks, and is gone for ever as soon as it knows that its request is accepted: nobody reminds the system of it."""

    def __init__(self, room: Room, name: str, seed: int) -> None:
        self._room = room
        self._name = name
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
        self._count = 0

    async def run(self) -> None:
        """Until the room is ending."""
        while not self._room.ending.is_set():
            self._count += 1
            request_id = f"{self._name}-{self._count}"
            model = self._chance.choice(list(MODELS))
            asked = Asked(request_id, None, f"adeus {request_id}", model, self._room.journal.now())
            self._room.asked[request_id] = asked
            await self._ask_and_leave(asked)
            await asyncio.sleep(self._chance.uniform(0.3, 1.5))

    async def _ask_and_leave(self, asked: Asked) -> None:
        view = View(asked)
        view.given_up = True
        # Some leave in the middle of the answer.
        pieces = self._chance.choice((0, 0, 5))
        wires = Wires(self._room.sockets, self._chance)
        following = asyncio.create_task(Follower(self._room, view, wires, self._chance, self._name).follow())
        try:
            with contextlib.suppress(TimeoutError):
                await until(
                    lambda: following.done() or (asked.accepted_at is not None and view.seq >= pieces),
                    seconds=ACCEPTED_SECONDS,
                )
            if following.done():
                following.result()
        finally:
            following.cancel()
            await asyncio.wait([following])
            wires.drop()


class Tab:
    """Joins answers that others have asked for."""

    def __init__(self, room: Room, name: str, seed: int) -> None:
        self._room = room
        self._name = name
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
        self._wires = Wires(room.sockets, self._chance)
        self._count = 0

    async def run(self) -> None:
        """Until the room is ending; what it has joined is followed to its end."""
        async with self._wires.closed_at_last():
            while not self._room.ending.is_set():
                await asyncio.sleep(self._chance.uniform(0.1, 1.0))
                running = self._room.running()
                if running:
                    self._count += 1
                    view = View(self._chance.choice(running))
                    name = f"{self._name}/{self._count}"
                    await Follower(self._room, view, self._wires, self._chance, name).follow()
