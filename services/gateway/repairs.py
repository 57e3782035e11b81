"""Asks the workers for what connections have missed of their answers: at a gap, in silence, after NATS was away.

Answers ── gap, silence ──▶ Repairs ── chat.v1.query.repair ──▶ any worker ──▶ the worker that runs the answer
   ▲                                                                                      │
   └──────────────────── what is missing: reply.<gateway>.<connection> ◀──────────────────┘
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Protocol

import msgspec
import structlog

from libs.bus.connection import Bus
from libs.contract import frames, subjects
from libs.contract.chat import ChatResume
from libs.contract.errors import RequestError
from libs.contract.frames import ClientRequest
from libs.contract.generations import Resumed
from libs.contract.ids import new_id
from services.gateway import metrics
from services.gateway.requests import Caller

log = structlog.get_logger(__name__)

# A model that reads a long prompt is silent for longer, and then asking costs little and sends nothing.
SILENCE_SECONDS = 3.0
# Until the next question about an answer that nobody runs at the moment. One that was running is taken over within
# seconds, and who came back meanwhile is told only when it asks. One that waits for its turn may wait for long: twice
# as long each time, between these.
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 2.0
# Of one answer, however many gaps it has.
BETWEEN_QUESTIONS_SECONDS = 0.05
LOOK_SECONDS = 0.25
ANSWER_SECONDS = 5.0
# All at once want to know when NATS is back.
QUESTIONS_AT_ONCE = 64

_resumed = msgspec.json.Decoder(Resumed)


class Watched:
    """One answer, as one connection was shown it under one `id` (`frame_id`, as JSON): up to `seq` of `epoch`."""

    __slots__ = ("ask_at", "asking", "epoch", "frame_id", "message_id", "not_before", "pause", "request_id", "seq")

    def __init__(self, frame_id: bytes | None, *, message_id: int | None = None, request_id: str | None = None) -> None:
        self.message_id = message_id
        """None: only its request is known so far."""
        self.request_id = request_id
        self.frame_id = frame_id
        self.epoch = 1
        self.seq = 0
        self.asking = False
        self.not_before = 0.0
        self.pause = 0.0
        self.ask_at = time.monotonic() + SILENCE_SECONDS

    def heard(self, now: float) -> None:
        """All is well until it is silent for too long."""
        self.ask_at = now + SILENCE_SECONDS
        self.pause = 0.0

    def later(self, now: float, *, soon: bool = False) -> None:
        """Nobody has it at the moment. `soon`: somebody will."""
        self.pause = FIRST_PAUSE_SECONDS if soon else min(2 * self.pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self.not_before = self.ask_at = now + self.pause


class Watcher(Protocol):
    """Who watches: the answers of one connection."""

    @property
    def caller(self) -> Caller: ...

    def count(self) -> int: ...

    def __iter__(self) -> Iterator[Watched]: ...

    def repaired(self, watched: Watched, resumed: Resumed) -> None: ...

    def not_repaired(self, watched: Watched, error: RequestError) -> None: ...


class Repairs:
    """For all connections of one gateway. One loop looks at the time; a task lives only while a question is asked."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._watchers: set[Watcher] = set()
        self._questions: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    def add(self, watcher: Watcher) -> None:
        """It has something unfinished. When it has nothing any more it is forgotten: most wait for nothing."""
        self._watchers.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    def ask_for_gap(self, watcher: Watcher, watched: Watched) -> None:
        """At once, unless it is being asked for already. What comes meanwhile and does not fit comes again."""
        if watched.asking:
            return
        if time.monotonic() < watched.not_before:
            watched.ask_at = min(watched.ask_at, watched.not_before)
            return
        self._start(watcher, watched, "gap")

    async def run(self) -> None:
        """Asks for what is silent, for ever; and for everything when messages may have been lost."""
        losses = self._bus.losses
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                lost, losses = losses != self._bus.losses, self._bus.losses
                now = time.monotonic()
                for watcher in list(self._watchers):
                    if not watcher.count():
                        self._watchers.discard(watcher)
                    for watched in watcher:
                        if (lost or watched.ask_at <= now) and not watched.asking:
                            self._start(watcher, watched, "loss" if lost else "silence")
        finally:
            for question in self._questions:
                question.cancel()

    def _start(self, watcher: Watcher, watched: Watched, reason: str) -> None:
        metrics.REPAIRS.labels(reason).inc()
        watched.asking = True
        question = asyncio.create_task(self._ask(watcher, watched), name=f"repair {watched.message_id}")
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)

    async def _ask(self, watcher: Watcher, watched: Watched) -> None:
        async with self._slots:
            if watcher not in self._watchers:
                return
            subject, request = subjects.chat_query("repair"), _request(watcher.caller, watched)
            try:
                reply = frames.checked(await self._bus.request(subject, request, timeout=ANSWER_SECONDS))
                resumed = _resumed.decode(reply)
            except RequestError as error:
                log.debug("an answer could not be asked for", message_id=watched.message_id, reason=error.message)
                if watcher in self._watchers:
                    watcher.not_repaired(watched, error)
            else:
                watched.not_before = time.monotonic() + BETWEEN_QUESTIONS_SECONDS
                # Who has left meanwhile would go on watching for ever.
                if watcher in self._watchers:
                    watcher.repaired(watched, resumed)
            finally:
                watched.asking = False


def _request(caller: Caller, watched: Watched) -> bytes:
    if watched.message_id is None:
        asked = ChatResume(request_id=watched.request_id)
    else:
        # Who was shown nothing here may know the beginning from another connection: it has to begin again (`reset`).
        epoch = watched.epoch if watched.seq else 0
        asked = ChatResume(message_id=watched.message_id, epoch=epoch, seq=watched.seq)
    return msgspec.json.encode(
        ClientRequest(
            request_id=watched.request_id or new_id(),
            user=caller.user,
            reply=caller.reply,
            type="chat:resume",
            frame_id=None if watched.frame_id is None else msgspec.json.decode(watched.frame_id),
            data=msgspec.Raw(msgspec.json.encode(asked)),
        )
    )
