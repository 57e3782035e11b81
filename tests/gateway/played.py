"""The services behind a gateway, played by the test: a task service with one task, and the agents of some hosts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from msgspec import Raw

from libs.bus.connection import Bus
from libs.contract import frames, monitoring, subjects
from libs.contract.chat import Models
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.contract.monitoring import Demand, Metrics
from libs.contract.tasks import MissedChanges, Task, TaskPriority, TaskState, TaskStatus
from tests.on_the_bus import listening, serving
from tests.waiting import until

# So many missed changes come in one answer.
BATCH = 2
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def task_state(task_id: int, revision: int, title: str = "A task") -> TaskState:
    task = Task(task_id, title, "", TaskStatus.EXECUTING, TaskPriority.MEDIUM, revision % 101, WHEN, WHEN, None)
    return TaskState(task, [], WHEN, revision)


def update_frame(task_id: int, revision: int, title: str = "A task") -> bytes:
    return frames.encode("task:update", task_state(task_id, revision, title))


class PlayedTasks:
    """Tasks up to 900 exist, all at one revision; only task 1 changes. Every question is counted."""

    def __init__(self, bus: Bus) -> None:
        self.revision = 1
        self.asked: list[str] = []
        self.keeps_changes = True
        self.answering = asyncio.Event()
        self.answering.set()
        self._bus = bus

    async def answer(self, subject: str, payload: bytes) -> bytes:
        request = msgspec.json.decode(payload, type=ClientRequest)
        self.asked.append(subjects.last_token(subject))
        revision = self.revision
        await self.answering.wait()
        asked = msgspec.json.decode(request.data)
        task_id = asked["taskId"]
        if task_id > 900:
            error = RequestError(ErrorCode.NOT_FOUND, f"There is no task {task_id}.")
            return frames.encode_error(error, frame_id=request.frame_id)
        if request.type == "task:changes":
            missed = range(asked["afterRevision"] + 1, revision + 1)[:BATCH] if self.keeps_changes else ()
            data = MissedChanges([Raw(update_frame(1, number)) for number in missed], complete=self.keeps_changes)
            return frames.encode("task:changes", data)
        return frames.encode("task:update", task_state(task_id, revision), frame_id=request.frame_id)

    async def change(self, *, publish: bool = True) -> None:
        """A change; `publish`: it is told."""
        self.revision += 1
        if publish:
            await self.publish(self.revision)

    async def publish(self, revision: int) -> None:
        await self._bus.publish(subjects.task_updated(1), update_frame(1, revision))


@asynccontextmanager
async def played_tasks(bus: Bus) -> AsyncIterator[PlayedTasks]:
    tasks = PlayedTasks(bus)
    async with serving(bus, subjects.TASK_COMMAND_ALL, tasks.answer, at_once=2000):
        yield tasks


def sample(host: str, *, interval_seconds: int = 10, at: datetime = WHEN, load: float = 0.5) -> Metrics:
    """A sample of a small machine."""
    return Metrics(
        host=host,
        timestamp=at,
        interval_seconds=interval_seconds,
        cpu=monitoring.Cpu(12.5, 2, [20.0, 5.0], 2400.0, None),
        memory=monitoring.Memory(8, 4, 2, 4, 50.0),
        swap=monitoring.Swap(0, 0, 0, None),
        disk=monitoring.Disk(100, 50, 50, 50.0, 0.0, 1.5),
        disks=[],
        network=monitoring.Network(1.0, 2.0, 100, 200, []),
        gpu=[],
        processes=monitoring.Processes(1, [], monitoring.ModelServer(False, None, None, None)),
        load_average=[load, 0.5, 0.5],
    )


async def publish_sample(bus: Bus, host: str, *, interval_seconds: int = 10, load: float = 0.5) -> None:
    taken = sample(host, interval_seconds=interval_seconds, at=datetime.now(UTC), load=load)
    await bus.publish(subjects.monitoring_sampled(host), frames.encode("metrics", taken))


class Sends(Protocol):
    """A client's socket."""

    async def send(self, message: str, /) -> None: ...


async def reply_subject(bus: Bus, client: Sends) -> str:
    """Where a worker answers this connection, as it learns it from a request."""
    learnt: list[str] = []

    async def answer(_: str, payload: bytes) -> bytes:
        learnt.append(msgspec.json.decode(payload, type=ClientRequest).reply)
        return frames.encode("model:list", Models(models=[], default=None))

    async with serving(bus, subjects.chat_query("model_list"), answer):
        await client.send('{"type":"model:list"}')
        await until(lambda: learnt)
    return learnt[0]


@asynccontextmanager
async def hearing_demands(bus: Bus, subject: str) -> AsyncIterator[list[int]]:
    """The intervals that gateways ask for."""
    demanded: list[int] = []

    def hear(_: str, payload: bytes) -> None:
        demanded.append(msgspec.json.decode(payload, type=Demand).interval_seconds)

    async with listening(bus, subject, hear):
        yield demanded
