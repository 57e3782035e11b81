"""Commands as a gateway sends them, and what is heard of a task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.frames import ClientRequest
from libs.contract.ids import LOCAL_USER, new_id
from libs.contract.tasks import TaskState
from tests.on_the_bus import listening
from tests.task_service.outboxes import update
from tests.waiting import until

ANSWER_SECONDS = 10.0


async def ask(bus: Bus, verb: str, **data: Any) -> dict[str, Any]:
    """The answering frame."""
    request = ClientRequest(
        request_id=new_id(),
        user=LOCAL_USER,
        reply="reply.test.test",
        type=f"task:{verb}",
        frame_id="f1",
        data=msgspec.Raw(msgspec.json.encode(data)),
    )
    payload = await bus.request(subjects.task_command(verb), msgspec.json.encode(request), timeout=ANSWER_SECONDS)
    frame: dict[str, Any] = msgspec.json.decode(payload)
    return frame


async def state(bus: Bus, verb: str, **data: Any) -> TaskState:
    """The data of an answer that is no error."""
    frame = await ask(bus, verb, **data)
    assert frame["type"] != "error", frame
    return msgspec.convert(frame["data"], TaskState)


class Follower:
    """Everything that was published of one task, in the order in which it arrived."""

    def __init__(self) -> None:
        self.heard: list[TaskState] = []

    @property
    def revisions(self) -> list[int]:
        return [one.revision for one in self.heard]

    async def until_revision(self, revision: int, *, seconds: float = 10) -> None:
        await until(lambda: revision in self.revisions, seconds=seconds)


@asynccontextmanager
async def following(bus: Bus, task_id: int) -> AsyncIterator[Follower]:
    """A subscriber, heard by NATS already."""
    follower = Follower()

    def hear(_: str, payload: bytes) -> None:
        follower.heard.append(update(payload))

    async with listening(bus, subjects.task_updated(task_id), hear):
        yield follower
