"""Clients that chat: ask, watch the answer to its end whatever happens to the connection, repeat, cancel, join.

Asker ── chat:send ──▶ any gateway;   lost? ──▶ another one: chat:resume at the position, or the same request again
Tab   ── joins an answer that runs, by its message or by the conversation's history, or by repeating its request
"""

import asyncio
import random
from dataclasses import dataclass, field

from libs.contract.chat import MessageStatus
from tests.chaos.journal import Journal, Promise
from tests.chaos.transcripts import Asked, Step, View
from tests.chaos.wire import Frame, Gone, Wire, Wires

# No frame for so long, although nothing says why: the client makes itself heard again.
PATIENCE_SECONDS = 20.0
RETRY_SECONDS = 0.5
# What was asked for after a gap comes within this; until then the gap is known.
GAP_SECONDS = 3.0
# Promised are 5 s for most; the rest is for a machine that is busy.
TAKEOVER_SECONDS = 12.0
MODELS = {"echo": 4, "paced-40-20": 4, "paced-100-25": 4, "paced-200-50": 2, "paced-300-100": 1}
PAUSE_SECONDS = 0.3


@dataclass
class Room:
    """What all clients share."""

    sockets: dict[str, str]
    journal: Journal
    resume: bool
    """Whether the system knows `chat:resume`; if not, a client repeats its request instead."""
    asked: dict[str, Asked] = field(default_factory=dict)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing new is begun any more."""

    def running(self) -> list[Asked]:
        """Requests with an answer that somebody is still waiting for."""
        return [
            asked
            for asked in self.asked.values()
            if asked.accepted_at is not None and not any(view.over for view in asked.views)
        ]


class Follower:
    """Brings one view to its end over one client's connections."""

    def __init__(self, room: Room, view: View, wires: Wires, chance: random.Random, name: str) -> None:
        self._room = room
        self._journal = room.journal
        self._view = view
        self._asked = view.asked
        self._wires = wires
        self._chance = chance
        self._name = name
        self._tries = 0
        self._began_at = 0.0
        self._resumed_at: float | None = None
        self._gateway = ""
        self._asking = ""
        # A client that is about to lose its connection, by its own doing.
        self._frames_to_drop = chance.randint(5, 60) if chance.random() < 0.25 else 0
        self._frames_to_cancel = chance.randint(0, 30) if chance.random() < 0.08 else -1
        self._frames_to_repeat = chance.randint(0, 40) if chance.random() < 0.1 else -1

    async def follow(self, *, pause: float = 0.0) -> None:
        """Until the answer has ended. `pause`: between two frames, as a slow reader does."""
        while not self._view.over:
            wire = await self._wires.get()
            try:
                await self._begin(wire)
                await self._watch(wire, pause)
            except Gone as gone:
                self._note(f"lost its connection to {wire.gateway} ({gone.code})")
                await self._wires.lost()
            except TimeoutError:
                self._note(f"has heard nothing from {wire.gateway} for {PATIENCE_SECONDS:g} s")
                self._journal.count("silences of 20 s")
                await self._wires.lost()

    async def _begin(self, wire: Wire) -> None:
        """Asks, or asks to go on."""
        self._tries += 1
        self._began_at = self._journal.now()
        self._gateway = wire.gateway
        self._asking = frame_id = f"{self._asked.request_id}.{self._name}.{self._tries}"
        known = self._view.asked.message_id
        if self._room.resume and known is not None and self._chance.random() < 0.8:
            view = self._view
            self._resumed_at = self._journal.now()
            self._note(f"resumes at {wire.gateway} after ({view.epoch}, {view.seq})")
            self._journal.count("resumes")
            await wire.send(
                "chat:resume", {"messageId": known, "epoch": view.epoch, "seq": view.seq}, frame_id=frame_id
            )
        else:
            self._note(f"{'asks' if self._tries == 1 else 'asks again'} at {wire.gateway}")
            self._journal.count("requests sent")
            await wire.send("chat:send", self._asked.data(), frame_id=frame_id)

    async def _watch(self, wire: Wire, pause: float) -> None:
        while not self._view.over:
            frame = await wire.frame(PATIENCE_SECONDS)
            await self._take(wire, frame)
            if pause:
                await asyncio.sleep(pause)

    async def _take(self, wire: Wire, frame: Frame) -> None:
        data = frame.get("data", {})
        if frame["type"] == "chat:streaming":
            # Also of an answer that was followed before.
            self._check_epoch(data, frame.get("id", ""))
        match frame["type"]:
            case "chat:streaming" if data["messageId"] == self._asked.message_id or self._is_ours(frame):
                self._asked.message_id = data["messageId"]
                await self._stream(wire, data)
            case "chat:message" if data["requestId"] == self._asked.request_id:
                self._accepted()
                if data["role"] == "assistant" and self._view.done is not None:
                    self._view.message = data
            case "chat:status" if data["requestId"] == self._asked.request_id:
                self._accepted()
                self._asked.message_id = data["messageId"]
            case "chat:cancelled" if data["requestId"] == self._asked.request_id:
                self._asked.cancelled_as = data["status"]
                self._note(f"is told: cancelled, now {data['status']}")
            case "error" if self._is_ours(frame):
                await self._fail(wire, data)
            case "session:draining":
                self._note(f"is told that {wire.gateway} goes away")

    def _is_ours(self, frame: Frame) -> bool:
        return str(frame.get("id", "")).startswith(f"{self._asked.request_id}.{self._name}.")

    def _accepted(self) -> None:
        if self._asked.accepted_at is None:
            self._asked.accepted_at = self._journal.now()
            self._note("is accepted")

    async def _stream(self, wire: Wire, data: Frame) -> None:
        view, before = self._view, self._view.epoch
        step = view.take(data)
        now = self._journal.now()
        if self._resumed_at is not None and step is Step.NEXT:
            self._resumed(now)
        match step:
            case Step.NEXT:
                if before and view.epoch > before:
                    self._taken_over(now, before)
                view.last_at = now
                if data["done"]:
                    self._note(f"sees the end: {data['status']}, epoch {view.epoch}, {len(view.text)} characters")
            case Step.GAP if now - self._began_at > GAP_SECONDS:
                self._misled(
                    Promise.RESUME,
                    f"frames are missing: ({data['epoch']}, {data['seq']}) came after ({view.epoch}, {view.seq})",
                )
                await self._begin(wire)
            case Step.GAP | Step.STALE:
                pass  # What was asked for brings them; or an older worker speaks on a connection that knows no newer.
            case Step.DOUBLE:
                self._journal.count("positions shown twice")
        await self._act(wire)

    def _check_epoch(self, data: Frame, frame_id: str) -> None:
        """On one connection nothing of a dead or frozen worker comes after its successor's."""
        key = (data["messageId"], frame_id)
        highest = self._wires.epochs.get(key, 0)
        if data["epoch"] < highest:
            self._misled(Promise.TAKEOVER, f"a frame of epoch {data['epoch']} came after epoch {highest}")
        self._wires.epochs[key] = max(highest, data["epoch"])

    def _misled(self, promise: Promise, what: str) -> None:
        """The gateway keeps such frames from its clients, once it knows how to."""
        self._note(what)
        self._journal.count(f"client saw: {promise.name.lower()}")
        if self._room.resume:
            self._journal.broken(promise, what, about=self._asked.request_id, since=self._asked.at)

    def _resumed(self, now: float) -> None:
        assert self._resumed_at is not None
        since, self._resumed_at = self._resumed_at, None
        kinds = {"nats", "database", "chat_worker", "model"}
        if not self._journal.hit(since - 1, now, kinds=kinds, targets=self._way()):
            self._journal.took("resume: first missing text", now - since)

    def _taken_over(self, now: float, before: int) -> None:
        self._note(f"sees epoch {self._view.epoch} after {before}")
        self._journal.count("takeovers seen")
        kills = [
            fault
            for fault in self._journal.faults
            if fault.kind == "chat_worker" and self._view.last_at - 1 <= fault.at <= now
        ]
        if not kills:
            return
        kinds = {"nats", "database", "model", "bus_link", "model_link", "chat_worker"}
        since, cause = kills[0].at, kills[0]
        if self._journal.hit(since - 1, now, kinds=kinds, targets=self._way(), but=cause):
            return
        self._journal.took(f"takeover after {cause.action}", now - since)
        if now - since > TAKEOVER_SECONDS:
            text = f"taken over only {now - since:.1f} s after {cause.action} of {cause.target}"
            self._journal.broken(Promise.TAKEOVER, text, about=self._asked.request_id, since=since)

    def _way(self) -> set[str]:
        """What lies between this client and the bus."""
        return {self._gateway, f"clients={self._gateway}", f"{self._gateway}=nats"}

    async def _act(self, wire: Wire) -> None:
        """What people do while an answer appears."""
        self._frames_to_drop -= 1
        self._frames_to_cancel -= 1
        self._frames_to_repeat -= 1
        if self._frames_to_cancel == 0 and not self._view.over:
            self._journal.count("cancels sent")
            await wire.send("chat:cancel", {"requestId": self._asked.request_id})
        if self._frames_to_repeat == 0:
            self._journal.count("repeats sent")
            again = f"{self._asked.request_id}.{self._name}.again"
            await wire.send("chat:send", self._asked.data(), frame_id=again)
        if self._frames_to_drop == 0 and not self._view.over:
            self._journal.count("connections dropped by the client")
            self._wires.drop()
            raise Gone(None)

    async def _fail(self, wire: Wire, error: Frame) -> None:
        if self._view.done is not None and self._view.done["status"] == MessageStatus.ERROR:
            self._view.error = error
            return
        self._note(f"gets an error: {error['code']}")
        self._journal.count(f"errors: {error['code']}")
        if not error["retryable"]:
            text = f"a request is refused for good: {error['code']}: {error['message']}"
            self._journal.broken(Promise.CHAT, text, about=self._asked.request_id, since=self._asked.at)
        await asyncio.sleep(max(RETRY_SECONDS, error.get("retryAfterMs", 0) / 1000))
        await self._begin(wire)

    def _note(self, what: str) -> None:
        self._journal.note(f"{self._name} {what}", about=self._asked.request_id)


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
        asked = Asked(request_id, conversation, f"pergunta {request_id} 😀", model, self._room.journal.now())
        self._room.asked[request_id] = asked
        return asked


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
