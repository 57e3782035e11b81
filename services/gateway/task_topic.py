"""One task, followed by many connections: every revision once, in order, none missing.

task.v1.task.<id>.updated ─▶ next revision? ─▶ every subscriber
                                └─ gap ─▶ wait a moment ─▶ ask the task service for what is missing
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import structlog

from libs.bus.connection import Bus
from libs.contract import frames, subjects
from libs.contract.errors import RequestError
from libs.contract.frames import ClientRequest
from libs.contract.ids import new_id
from libs.contract.tasks import MissedChanges, TaskChanges, TaskGet, TaskUpdateFrame

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 3.0
# Two services that change one task may publish in the wrong order, by less than this.
GAP_SECONDS = 0.25
RETRY_SECONDS = 1.0
# Updates that may wait for a missing one before them; more, and the present state serves as well.
MAX_EARLY = 256

Put = Callable[[bytes], None]


class _MissedFrame(msgspec.Struct, frozen=True):
    data: MissedChanges


_updates = msgspec.json.Decoder(TaskUpdateFrame)
_missed = msgspec.json.Decoder(_MissedFrame)


@asynccontextmanager
async def opened_task_topic(bus: Bus, user: str, task_id: int) -> AsyncIterator["TaskTopic"]:
    """Listens first and asks then, so that nothing falls between. Raises `RequestError` as `catch_up` does."""
    topic = TaskTopic(bus, user, task_id)
    async with bus.listening(subjects.task_updated(task_id), topic.hear):
        try:
            await topic.catch_up()
            yield topic
        finally:
            await topic.stop()


class TaskTopic:
    """A task of one user. Made by `opened_task_topic`."""

    def __init__(self, bus: Bus, user: str, task_id: int) -> None:
        self.present = b""
        """The newest `task:update` frame that subscribers have got."""
        self.subscribers: set[Put] = set()
        self._bus = bus
        self._user = user
        self._task_id = task_id
        self._revision = 0
        self._early: dict[int, bytes] = {}
        self._mending: asyncio.Task[None] | None = None
        self._suspect = False
        """Updates may have been lost, and nothing may follow that shows the gap."""

    def hear(self, _subject: str, frame: bytes) -> None:
        """An update from the bus: handed on when its turn has come."""
        revision = _updates.decode(frame).data.revision
        if revision <= self._revision:
            return
        self._early[revision] = frame
        if self._revision == 0:
            return  # The present state is on its way.
        self._hand_on()
        if self._early:
            if len(self._early) > MAX_EARLY:
                del self._early[max(self._early)]
            self.mend(after=GAP_SECONDS)

    async def catch_up(self) -> None:
        """Brings the task up to date. Raises `RequestError`: it does not exist, or nobody answers."""
        while self._revision and (missed := await self._missed()).complete:
            if not missed.frames:
                return
            for update in missed.frames:
                self.hear("", bytes(update))
        # It is new here, or what was missed is no longer kept: the task as it stands has to do.
        frame = frames.checked(await self._ask("get", TaskGet(self._task_id)))
        revision = _updates.decode(frame).data.revision
        if revision > self._revision:
            self._early = {number: early for number, early in self._early.items() if number > revision}
            self._send(revision, frame)
        self._hand_on()

    async def _missed(self) -> MissedChanges:
        answer = frames.checked(await self._ask("changes", TaskChanges(self._task_id, self._revision)))
        return _missed.decode(answer).data

    async def _ask(self, verb: str, data: TaskGet | TaskChanges) -> bytes:
        request = ClientRequest(
            request_id=new_id(),
            user=self._user,
            reply="",
            type=f"task:{verb}",
            data=msgspec.Raw(msgspec.json.encode(data)),
        )
        return await self._bus.request(
            subjects.task_command(verb), msgspec.json.encode(request), timeout=ANSWER_SECONDS
        )

    def mend(self, *, after: float) -> None:
        """Catches up soon, as often as it takes. After nothing: whether there is a gap or not."""
        self._suspect = self._suspect or not after
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(after), name=f"mend task {self._task_id}")

    async def stop(self) -> None:
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])

    async def _mend(self, after: float) -> None:
        await asyncio.sleep(after)
        while self._early or self._suspect:
            self._suspect = False
            try:
                await self.catch_up()
            except RequestError as error:
                log.warning("a task cannot be asked for; trying again", task_id=self._task_id, reason=error.message)
                self._suspect = True
                await asyncio.sleep(RETRY_SECONDS)
            else:
                # More may have been noticed meanwhile, or become the reason to look once more.
                await asyncio.sleep(GAP_SECONDS)

    def _hand_on(self) -> None:
        while (frame := self._early.pop(self._revision + 1, None)) is not None:
            self._send(self._revision + 1, frame)

    def _send(self, revision: int, frame: bytes) -> None:
        self._revision = revision
        self.present = frame
        for put in self.subscribers:
            put(frame)
