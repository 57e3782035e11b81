"""Publishes every change right after its commit; and after a while what was not, because a process or NATS died.

commit ─▶ Publisher.publish ─▶ NATS: task.v1.task.<id>.updated
                └─ twice a second: taken? ─▶ marked as published
                                    frames still unmarked after a second ─▶ NATS ─▶ taken? ─▶ marked

A frame is marked only after NATS has taken it. One may go out twice, and of two services' changes the later may go out
first: its revision tells.
"""

import asyncio
import contextlib
import time

import structlog
from msgspec import Struct

from libs.bus.connection import Bus, BusUnavailable
from libs.contract import frames, subjects
from libs.contract.errors import RequestError
from libs.contract.tasks import TaskState
from services.task_service import metrics
from services.task_service.store import Store
from services.task_service.store_frames import Revision, Unpublished

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
# More than two beats: what a service has published, it has marked by then.
OVERDUE_MS = 1500
BATCH = 50
DELETE_SECONDS = 60.0


class _Sent(Struct, frozen=True):
    revision: Revision
    interruptions: int


class Publisher:
    """One a process."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._sent: list[_Sent] = []
        self._stopping = asyncio.Event()

    async def publish(self, state: TaskState) -> None:
        """Tells what was just committed. Raises nothing: what cannot be told now is told later, by `run`."""
        task_id = state.task.id
        sent = _Sent(Revision(task_id, state.revision), self._bus.interruptions)
        try:
            await self._bus.publish(subjects.task_updated(task_id), frames.encode("task:update", state))
        except RequestError as error:
            _waiting(error)
        else:
            self._sent.append(sent)

    def stop(self) -> None:
        """Let `run` make sure of what was published by now, and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Makes sure that everything committed is published, until stopped; what fails is tried again."""
        deleted = 0.0
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._stopping.wait()
            try:
                await self._confirm()
                await self._publish_overdue()
                if time.monotonic() > deleted + DELETE_SECONDS:
                    await self._store.delete_old_frames()
                    deleted = time.monotonic()
            except RequestError as error:
                _waiting(error)

    async def _confirm(self) -> None:
        """Marks what NATS has taken. If that cannot be told, the frames become overdue, and go out again."""
        sent, self._sent = self._sent, []
        if not sent:
            return
        await self._bus.ping()
        # An answer over the connection on which a frame was sent comes after NATS has read the frame. If there has been
        # another connection since, nobody knows.
        taken = [one.revision for one in sent if one.interruptions == self._bus.interruptions]
        if taken:
            await self._store.mark_published(taken)
            metrics.PUBLISHED.inc(len(taken))

    async def _publish_overdue(self) -> None:
        # A look costs no lock; with one, an idle service would hold up SQLite's writers twice a second.
        if await self._store.has_unpublished(age_ms=OVERDUE_MS):
            while await self._store.publish(self._send, limit=BATCH, age_ms=OVERDUE_MS) == BATCH:
                pass

    async def _send(self, rows: list[Unpublished]) -> None:
        interruptions = self._bus.interruptions
        for row in rows:
            await self._bus.publish(subjects.task_updated(row.task_id), row.payload)
        await self._bus.ping()
        if interruptions != self._bus.interruptions:
            raise BusUnavailable
        metrics.PUBLISHED.inc(len(rows))


def _waiting(error: RequestError) -> None:
    metrics.PUBLISH_FAILURES.inc()
    log.warning("updates wait to be published", reason=error.message)
