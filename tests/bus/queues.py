"""A queue of the tests' own, and workers on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem, WorkQueue
from libs.contract import streams
from libs.contract.streams import WorkStream

WORK = msgspec.structs.replace(
    streams.CHAT, name="WORK", subjects=("work.v1.*",), consumer="worker", ack_wait_seconds=0.6, max_bytes=64 * 1024
)
# Its items come back from a dead worker long after a test has ended.
PATIENT = msgspec.structs.replace(WORK, ack_wait_seconds=20)

Handler = Callable[[WorkItem], Awaitable[None]]


@asynccontextmanager
async def working(
    bus: Bus, handler: Handler, *, slots: int = 10, stream: WorkStream = WORK
) -> AsyncIterator[WorkQueue]:
    """A worker, until the block is left."""
    queue = WorkQueue(bus, stream, handler, slots=slots)
    running = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        queue.stop()
        await asyncio.wait_for(running, 10)


async def waiting_items(bus: Bus) -> int:
    return (await bus.jetstream().stream_info(WORK.name)).state.messages


async def none_waiting(bus: Bus) -> bool:
    return await waiting_items(bus) == 0
