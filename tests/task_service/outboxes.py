"""Emptying an outbox in tests."""

import msgspec
from msgspec import Struct

from libs.contract.tasks import TaskState
from services.task_service.store import Store
from services.task_service.store_frames import Unpublished


class UpdateFrame(Struct, frozen=True, forbid_unknown_fields=True):
    """A published frame, decoded."""

    type: str
    data: TaskState


async def take_all(store: Store) -> list[TaskState]:
    """What waited to be published, in that order; it is gone from the outbox then."""
    taken: list[TaskState] = []

    async def send(rows: list[Unpublished]) -> None:
        taken.extend(update(row.payload) for row in rows)

    await store.publish(send, limit=1000)
    return taken


def update(payload: bytes) -> TaskState:
    frame = msgspec.json.decode(payload, type=UpdateFrame)
    assert frame.type == "task:update"
    return frame.data
