"""What short questions came to while the model server was away: answered by its fallback, or refused in time."""

import asyncio
import random
from typing import NamedTuple

from libs.contract.chat import MessageStatus
from libs.contract.errors import ErrorCode
from tests.chaos.following import Follower
from tests.chaos.journal import Fault, Journal, Promise
from tests.chaos.room import Room
from tests.chaos.transcripts import Asked, View
from tests.chaos.wire import Wires

PAUSE_SECONDS = 1.0
# Answers that run when the server dies end as errors; after that every worker knows.
NOTICE_SECONDS = 2.5
# The workers' connect deadline is 2 s; the rest is for a machine that is busy.
REFUSED_SECONDS = 5.0
# What was killed or told to stop is still starting when it has been started.
STARTING_SECONDS = 5.0
# Any of these may be what holds up an answer or ends it early.
OTHERS = {"chat_worker", "database", "nats", "gateway", "bus_link", "model_link"}


class Told(NamedTuple):
    """One short question and how it ended: `code` is the error's."""

    at: float
    seconds: float
    status: str
    code: str | None


class BriefAsker:
    """Asks one short thing after the other, past the clients' links, each in a conversation of its own."""

    def __init__(self, room: Room, urls: dict[str, str], seed: int) -> None:
        self._room = room
        self._urls = urls
        self._chance = random.Random(f"{seed} brief")  # noqa: S311 (repeatable, guards nothing)
        self.told: list[Told] = []

    async def run(self) -> None:
        """Until the room is ending."""
        journal = self._room.journal
        wires = Wires(self._urls, self._chance)
        async with wires.closed_at_last():
            while not self._room.ending.is_set():
                at, request_id = journal.now(), f"brief-{len(self.told) + 1}"
                view = View(Asked(request_id, None, f"breve {request_id}", "echo", at))
                self._room.asked[request_id] = view.asked
                await Follower(self._room, view, wires, self._chance, request_id).follow()
                if view.done is not None:
                    code = None if view.error is None else view.error["code"]
                    self.told.append(Told(at, journal.now() - at, view.done["status"], code))
                await asyncio.sleep(PAUSE_SECONDS)


def judge(journal: Journal, told: list[Told], *, fallback: bool) -> None:
    """Promise 7, where nothing else was wrong at the same time."""
    for fault in journal.faults:
        if (fault.kind, fault.action) not in {("model", "kill"), ("model", "away")}:
            continue
        until = journal.now() if fault.lifted_at is None else fault.lifted_at
        for one in told:
            inside = fault.at + NOTICE_SECONDS < one.at and one.at + one.seconds < until
            if inside and not _disturbed(journal, one):
                _judge_one(journal, fault, one, fallback=fallback)


def _judge_one(journal: Journal, fault: Fault, one: Told, *, fallback: bool) -> None:
    if fallback:
        journal.took("model away: answered by the fallback", one.seconds)
        # Cancelled: by a client that changes its mind now and then.
        well = one.status in (MessageStatus.COMPLETE, MessageStatus.CANCELLED)
    else:
        journal.took("model away: refused", one.seconds)
        well = one.code == ErrorCode.MODEL_UNAVAILABLE and one.seconds < REFUSED_SECONDS
    if not well:
        text = f"model away, {'with' if fallback else 'without'} a fallback: {one.status} ({one.code})"
        text = f"{text} after {one.seconds:.1f} s"
        journal.broken(Promise.DEPENDENCIES_AWAY, text, since=fault.at, at=one.at + one.seconds)


def _disturbed(journal: Journal, one: Told) -> bool:
    return any(
        other.kind in OTHERS
        and other.at <= one.at + one.seconds
        and (other.ended_at is None or other.ended_at + STARTING_SECONDS >= one.at)
        for other in journal.faults
    )
