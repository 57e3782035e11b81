"""Whether a worker still knows that the answers it runs are its own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.chat_worker.lease import STILL_SECONDS, Lease

SHORT, LONG = 0.2, 60.0


def stand_still() -> None:
    """What SIGSTOP does, seen from inside: nothing runs for a while."""
    time.sleep(STILL_SECONDS + 0.2)


@asynccontextmanager
async def beating(lease: Lease) -> AsyncIterator[Lease]:
    beats = asyncio.create_task(lease.beat_forever())
    await asyncio.sleep(0)
    yield lease
    beats.cancel()


async def test_who_stood_still_for_longer_than_the_lease_does_not_know() -> None:
    """At once, before anything else runs, and until the database was asked after that."""
    async with beating(Lease(SHORT)) as lease:
        before = time.monotonic()
        stand_still()
        assert lease.doubtful
        lease.renewed(before)
        assert lease.doubtful
        lease.renewed(time.monotonic())
        answered = lease.doubtful
        assert not answered


async def test_a_reply_to_an_earlier_question_proves_nothing() -> None:
    """Also when it is the first thing that is read afterwards."""
    async with beating(Lease(SHORT)) as lease:
        before = time.monotonic()
        stand_still()
        lease.renewed(before)
        assert lease.doubtful


async def test_who_stood_still_within_the_lease_goes_on() -> None:
    """Nobody can have taken the answers."""
    async with beating(Lease(LONG)) as lease:
        stand_still()
        assert not lease.doubtful


async def test_a_database_that_is_away_is_no_reason_to_doubt() -> None:
    """The lease is not renewed, but this process has seen all the time pass."""
    async with beating(Lease(SHORT)) as lease:
        await asyncio.sleep(STILL_SECONDS + 0.7)
        assert not lease.doubtful
