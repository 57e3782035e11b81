"""Brings one answer to its end on one client's screen, whatever happens to the connection.

chat:send ──▶ any gateway;   lost? ──▶ another one: chat:resume behind the last piece, or the same request again
"""

import asyncio
import random

from libs.contract.chat import MessageStatus
from tests.chaos.journal import Promise
from tests.chaos.room import Room
from tests.chaos.transcripts import Step, View
from tests.chaos.wire import Frame, Gone, Wire, Wires

# No frame for so long, although nothing says why: the client makes itself heard again.
PATIENCE_SECONDS = 20.0
RETRY_SECONDS = 0.5
# What was asked for after a gap comes within this; until then the gap is known.
GAP_SECONDS = 3.0
# Promised are 5 s for most; the rest is for a machine that is busy.
TAKEOVER_SECONDS = 10.0
# Whatever was wrong before that has been dealt with, also by a process that had to start first.
QUIET_SECONDS = 14.0
FORGOTTEN_SECONDS = 90.0


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
        self._repeat: View | None = None
        self._asking_again = ""
        # A client that is about to lose its connection, by its own doing.
        self._frames_to_drop = chance.randint(5, 60) if chance.random() < 0.25 else 0
        self._frames_to_cancel = chance.randint(0, 30) if chance.random() < 0.08 else -1
        self._frames_to_repeat = chance.randint(0, 40) if view.asked.repeated and chance.random() < 0.5 else -1

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
                self._judge_silence()
                await self._wires.lost()

    async def _begin(self, wire: Wire) -> None:
        """Asks, or asks to go on."""
        self._tries += 1
        self._began_at = self._journal.now()
        self._repeat = None
        self._gateway = wire.gateway
        self._asking = frame_id = f"{self._asked.request_id}.{self._name}.{self._tries}"
        asked, view = self._asked, self._view
        again = asked.accepted_at is None or (asked.repeated and self._chance.random() < 0.5)
        if self._room.resume and not again:
            named: Frame = {"messageId": asked.message_id}
            if asked.message_id is None:
                named = {"requestId": asked.request_id}
            self._resumed_at = self._journal.now()
            self._note(f"resumes at {wire.gateway} after ({view.epoch}, {view.seq})")
            self._journal.count("resumes")
            await wire.send("chat:resume", {**named, "epoch": view.epoch, "seq": view.seq}, frame_id=frame_id)
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
            await self._take_piece(wire, frame.get("id"), data)
        else:
            await self._hear(wire, frame, data)

    async def _take_piece(self, wire: Wire, frame_id: str | None, data: Frame) -> None:
        if frame_id == self._asking:
            self._asked.message_id = data["messageId"]
            self._accepted()
            await self._stream(wire, data)
        elif self._repeat is not None and frame_id == self._asking_again:
            self._watch_repeat(self._repeat, data)

    async def _hear(self, wire: Wire, frame: Frame, data: Frame) -> None:
        match frame["type"]:
            case "chat:message" if data["requestId"] == self._asked.request_id:
                self._accepted()
                if data["role"] == "assistant" and self._view.done is not None:
                    self._view.message = data
            case "chat:status" if data["requestId"] == self._asked.request_id:
                self._accepted()
                self._asked.message_id = data["messageId"]
            case "chat:resumed" if frame.get("id") == self._asking and data["status"] == MessageStatus.PENDING:
                self._resumed_at = None  # There is no text yet.
            case "chat:cancelled" if data["requestId"] == self._asked.request_id:
                self._asked.cancelled_as = data["status"]
                self._note(f"is told: cancelled, now {data['status']}")
            case "error" if frame.get("id") == self._asking:
                await self._fail(wire, data)
            case "session:draining":
                self._note(f"is told that {wire.gateway} goes away")

    def _accepted(self) -> None:
        if self._asked.accepted_at is None:
            self._asked.accepted_at = self._journal.now()
            self._note("is accepted")

    async def _stream(self, wire: Wire, data: Frame) -> None:
        view, before = self._view, self._view.epoch
        step = view.take(data)
        now = self._journal.now()
        if self._resumed_at is not None and step is Step.NEXT:
            self._resumed(now, data)
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

    def _watch_repeat(self, repeat: View, data: Frame) -> None:
        """The same answer once more on the same connection: pieces of two ids are two streams, each complete."""
        at = (repeat.epoch, repeat.seq)
        if repeat.take(data) is Step.GAP:
            self._misled(
                Promise.RESUME, f"frames of a repeat are missing: {data['epoch'], data['seq']} came after {at}"
            )

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

    def _resumed(self, now: float, data: Frame) -> None:
        assert self._resumed_at is not None
        since, self._resumed_at = self._resumed_at, None
        if not (data.get("fromSeq") or data.get("reset") or data["done"]):
            return  # Nothing was missing perhaps: one piece may be a new one.
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
        # A poison request kills it, too.
        action = "kill" if cause.action == "poison" else cause.action
        # Who has outlived two workers goes alone, and may have to wait for another one that does.
        again = "" if before == 1 else ", not the first"
        self._journal.took(f"takeover after {action}{again}", now - since)
        if now - since > TAKEOVER_SECONDS:
            text = f"taken over only {now - since:.1f} s after {cause.action} of {cause.target}"
            self._journal.broken(Promise.TAKEOVER, text, about=self._asked.request_id, since=since)

    def _judge_silence(self) -> None:
        """What is accepted goes on by itself, once nothing is wrong any more."""
        self._journal.count("silences of 20 s")
        now = self._journal.now()
        kinds = {"nats", "database", "model", "bus_link", "model_link", "chat_worker"}
        wrong = self._journal.hit(now - QUIET_SECONDS, now, kinds=kinds, targets=self._way())
        # A request that NATS has lost is found after half a minute.
        lost = any(fault.action == "wipe" and fault.at > now - FORGOTTEN_SECONDS for fault in self._journal.faults)
        # In the conversation that all share one waits for the others, and so does who has outlived two workers.
        waits = self._asked.conversation_id == 1 or self._view.epoch > 1
        if self._asked.accepted_at is not None and not (wrong or lost or waits):
            text = f"an accepted request was silent for {PATIENCE_SECONDS:g} s, and nothing was wrong"
            self._journal.broken(Promise.TAKEOVER, text, about=self._asked.request_id, since=self._asked.at)

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
        if self._frames_to_repeat == 0 and not self._view.over:
            self._journal.count("repeats sent")
            self._repeat = View(self._asked)
            # It goes when the first one is at its end.
            self._repeat.given_up = True
            self._asking_again = f"{self._asking}.again"
            await wire.send("chat:send", self._asked.data(), frame_id=self._asking_again)
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
