"""Whether the answers that this worker runs are surely still its own.

A process that stood still (SIGSTOP, a suspended machine) for longer than its lease may have lost them all, and does not
know it when it goes on: what it would say first is held back until the database has renewed the lease.
"""

import asyncio
from time import monotonic

import structlog

log = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
# A loop so busy that it misses so many beats is no reason to doubt: its lease is renewed every 0.9 s.
STILL_SECONDS = 1.5


class Lease:
    """The lease of all running answers of one worker, by this machine's monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._beat_at = self._renewed_at = monotonic()
        self._doubted_at: float | None = None

    @property
    def doubtful(self) -> bool:
        """The process stood still, and its lease ran out meanwhile. A database that is away is no reason by itself."""
        now = monotonic()
        if self._doubted_at is None and now - self._beat_at > STILL_SECONDS and now - self._renewed_at > self._seconds:
            self._doubted_at = now
        return self._doubted_at is not None

    def renewed(self, asked_at: float) -> None:
        """The database was asked at this moment, and has renewed the leases of all answers that are still ours."""
        if self.doubtful and self._doubted_at is not None and asked_at < self._doubted_at:
            return  # asked before the process stood still
        self._renewed_at = asked_at
        self._doubted_at = None

    async def beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self.doubtful:
                log.warning("this process stood still for longer than its lease")
            self._beat_at = monotonic()
