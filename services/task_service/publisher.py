"""Publishes every committed change, in order, right after its commit; and what a crash has left behind.

Store: commit ── wake ─▶ Publisher ─▶ outbox, locked ─▶ NATS: task.v1.task.<id>.updated ─▶ taken? ─▶ rows deleted
                  1 s ──────┘

A frame may go out twice, after a crash between the last two steps: its revision tells.
"""

import asyncio
import contextlib

import structlog

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.errors import RequestError
from services.task_service import metrics
from services.task_service.store import Store
from services.task_service.store_outbox import Unpublished

log = structlog.get_logger(__name__)

# How often the outbox is looked at when nobody wakes the publisher, and how long it waits after a failure.
SWEEP_SECONDS = 1.0
BATCH = 50


class Publisher:
    """One a process. Several processes on one database take turns."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    def stop(self) -> None:
        """Let `run` publish what is committed by now, and return.

        Not by cancelling it: in the middle of a transaction on MariaDB a cancellation can be lost (seen 1 in 14 times).
        """
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Publishes until stopped; what fails is tried again after a second, at the latest by the next start."""
        while not self._stopping:
            if await self._tried():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_SECONDS):
                        await self._woken.wait()
            else:
                await asyncio.sleep(SWEEP_SECONDS)
        await self._tried()

    async def _tried(self) -> bool:
        try:
            await self.publish_waiting()
        except RequestError as error:
            metrics.PUBLISH_FAILURES.inc()
            log.warning("updates wait to be published", reason=error.message)
            return False
        return True

    async def publish_waiting(self) -> None:
        """Publishes all that stands in the outbox. Raises `BusUnavailable` or `DatabaseUnavailable`."""
        woken = self._woken.is_set()
        self._woken.clear()
        # A look costs no lock; with one, an idle service would hold up SQLite's writers every second.
        if not woken and not await self._store.has_unpublished():
            return
        while await self._store.publish(self._send, limit=BATCH) == BATCH:
            pass

    async def _send(self, rows: list[Unpublished]) -> None:
        for row in rows:
            await self._bus.publish(subjects.task_updated(row.task_id), row.payload)
        # NATS reads a connection in order: when it answers this, it has taken all of the above.
        await self._bus.ping()
        metrics.PUBLISHED.inc(len(rows))
