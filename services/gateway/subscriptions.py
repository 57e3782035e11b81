"""What one connection follows: hosts and tasks, each answered, each left with the connection at the latest.

monitoring:subscribe ─▶ topics of the hosts ─▶ monitoring:subscribed, then metrics
task:subscribe ─▶ topic of the task ─▶ task:subscribed, then task:update: the present state, then every change
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from libs.contract import frames
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import FrameId
from libs.contract.monitoring import MonitoringSubscribe, MonitoringSubscribed, MonitoringUnsubscribe
from libs.contract.tasks import TaskSubscribe, TaskSubscribed, TaskUnsubscribe
from services.gateway.host_topic import HostTopic, Watcher
from services.gateway.pending import cancel
from services.gateway.task_topic import TaskTopic
from services.gateway.topics import TaskKey, Topics

Wish = MonitoringSubscribe | MonitoringUnsubscribe | TaskSubscribe | TaskUnsubscribe


class Following(Struct, frozen=True):
    """A checked request to follow something, or no more."""

    wish: Wish
    frame_id: FrameId | None


class Put(Protocol):
    """Queues a frame for this connection."""

    def __call__(self, frame: bytes, *, newest_of: str | None = None) -> None: ...


class Subscriptions:
    """Of one connection. `carry_out` is called for one wish after the other, in the client's order."""

    def __init__(self, topics: Topics, user: str, put: Put, *, limit: int) -> None:
        self._topics = topics
        self._user = user
        self._put = put
        self._limit = limit
        self._hosts: dict[str | None, HostTopic] = {}
        self._watcher: Watcher | None = None
        self._tasks: dict[int, TaskTopic] = {}

    def count(self) -> int:
        return len(self._hosts) + len(self._tasks)

    async def carry_out(self, following: Following) -> None:
        """Answers the wish. Raises `RequestError`; what was followed before then goes on."""
        match following.wish:
            case MonitoringSubscribe() as wish:
                await self._watch_hosts(wish, following.frame_id)
            case MonitoringUnsubscribe():
                self._leave_hosts()
                self._put(frames.encode("monitoring:unsubscribed", frame_id=following.frame_id))
            case TaskSubscribe(task_id):
                await self._follow_task(task_id, following.frame_id)
            case TaskUnsubscribe(task_id):
                self._leave_task(task_id)
                self._put(frames.encode("task:unsubscribed", TaskSubscribed(task_id), frame_id=following.frame_id))

    def leave_all(self) -> None:
        self._leave_hosts()
        for task_id in list(self._tasks):
            self._leave_task(task_id)

    # ---- Hosts --------------------------------------------------------------------------------------------------

    async def _watch_hosts(self, wish: MonitoringSubscribe, frame_id: FrameId | None) -> None:
        names = [None] if wish.hosts is None else list(dict.fromkeys(wish.hosts))
        self._check_limit(len(self._tasks) + len(names))
        taken = await self._take_hosts(names)
        # A second subscription takes the place of the first.
        self._leave_hosts()
        watcher = Watcher(self._put, wish.interval_seconds)
        self._watcher, self._hosts = watcher, taken
        states = [state for topic in taken.values() for state in topic.states()]
        self._put(
            frames.encode(
                "monitoring:subscribed", MonitoringSubscribed(wish.interval_seconds, states), frame_id=frame_id
            )
        )
        for topic in taken.values():
            topic.join(watcher)
        for topic in taken.values():
            await topic.demand()

    async def _take_hosts(self, names: Sequence[str | None]) -> dict[str | None, HostTopic]:
        """All at once: each may wait two seconds for JetStream. All or, after an error, none."""
        taking = {name: asyncio.ensure_future(self._topics.hosts.take(name)) for name in names}
        try:
            await asyncio.gather(*taking.values())
        except BaseException:
            await cancel(*taking.values())
            for name, topic in taking.items():
                if not topic.cancelled() and topic.exception() is None:
                    self._topics.hosts.release(name)
            raise
        return {name: topic.result() for name, topic in taking.items()}

    def _leave_hosts(self) -> None:
        for name, topic in self._hosts.items():
            if self._watcher is not None:
                topic.leave(self._watcher)
            self._topics.hosts.release(name)
        self._hosts, self._watcher = {}, None

    # ---- Tasks --------------------------------------------------------------------------------------------------

    async def _follow_task(self, task_id: int, frame_id: FrameId | None) -> None:
        topic = self._tasks.get(task_id)
        if topic is None:
            self._check_limit(self.count() + 1)
            topic = self._tasks[task_id] = await self._topics.tasks.take(TaskKey(self._user, task_id))
            topic.subscribers.add(self._put)
        # Also the second time: who asks again wants to see it.
        self._put(frames.encode("task:subscribed", TaskSubscribed(task_id), frame_id=frame_id))
        self._put(topic.present)

    def _leave_task(self, task_id: int) -> None:
        topic = self._tasks.pop(task_id, None)
        if topic is not None:
            topic.subscribers.discard(self._put)
            self._topics.tasks.release(TaskKey(self._user, task_id))

    def _check_limit(self, wanted: int) -> None:
        if wanted > self._limit:
            raise RequestError(
                ErrorCode.BUSY,
                f"A connection may follow {self._limit} things at most. Leave some first, or open another connection.",
            )
