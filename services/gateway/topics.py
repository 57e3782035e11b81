"""What the clients of this gateway follow: one bus subscription for each topic, however many sockets.

connection ─▶ Subscriptions ── take / release ──▶ Shared ─▶ HostTopic, TaskTopic ◀─ bus
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from libs.bus.connection import Bus
from libs.contract.monitoring import DEMAND_AGAIN_SECONDS
from services.gateway.host_topic import HostTopic, opened_host_topic
from services.gateway.shared import Shared
from services.gateway.task_topic import TaskTopic, opened_task_topic

# How exactly silence is noticed, and how soon tasks are asked for again after NATS was away.
LOOK_SECONDS = 1.0


class TaskKey(Struct, frozen=True):
    """Each user's own: the task service decides, when the topic is opened, who may see which task."""

    user: str
    task_id: int


class Topics:
    """All topics of one gateway."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.hosts: Shared[str | None, HostTopic] = Shared(lambda host: opened_host_topic(bus, host))
        self.tasks: Shared[TaskKey, TaskTopic] = Shared(lambda key: opened_task_topic(bus, key.user, key.task_id))

    def count(self) -> int:
        return len(self.hosts) + len(self.tasks)

    async def run(self) -> None:
        """What has to be done now and then, for ever."""
        demanded_at = time.monotonic()
        losses = self._bus.losses
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for host in self.hosts:
                host.look_for_silence()
            if time.monotonic() - demanded_at >= DEMAND_AGAIN_SECONDS:
                demanded_at = time.monotonic()
                for host in self.hosts:
                    await host.demand()
            if losses != self._bus.losses:
                losses = self._bus.losses
                for task in self.tasks:
                    task.mend(after=0)

    async def close(self) -> None:
        await asyncio.gather(self.hosts.close(), self.tasks.close())


@asynccontextmanager
async def opened_topics(bus: Bus) -> AsyncIterator[Topics]:
    """Left when all connections have ended: waits until the last topics are closed."""
    topics = Topics(bus)
    yield topics
    await topics.close()
