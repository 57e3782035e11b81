"""Answers of workers that are dead or stand still: another one begins them again as soon as it may."""

import asyncio
from time import monotonic

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.chat import MessageStatus
from libs.contract.ids import LOCAL_USER
from services.chat_worker.generations import MAX_ATTEMPTS
from services.chat_worker.records import NewRequest
from services.chat_worker.store import Store
from tests.chat_worker.workers import ask, worker
from tests.on_the_bus import serving
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until_answer


async def test_a_worker_that_stands_still_is_not_waited_for_beyond_its_lease(sqlite_store: Store, bus: Bus) -> None:
    """It is asked whether it runs the answer, and says nothing. That had cost 3 s, whatever was left of the lease."""
    lease = 1.0
    answer = (await sqlite_store.record(NewRequest(LOCAL_USER, "r1", None, "Olá", "echo"))).answer
    asked, wake = asyncio.Event(), asyncio.Event()

    async def stand_still(_: str, __: bytes) -> bytes:
        asked.set()
        await wake.wait()
        return b""

    async with (
        ScriptedModel.running() as model,
        serving(bus, subjects.chat_generation(answer.id), stand_still),
        worker("other", bus, sqlite_store, model),
    ):
        await sqlite_store.claim(answer.id, worker="frozen", lease_ms=int(lease * 1000), max_attempts=MAX_ATTEMPTS)
        since = monotonic()
        await ask(bus, "r1", model="echo")

        async def ended() -> bool:
            return (await sqlite_store.answer(answer.id)).status is MessageStatus.COMPLETE

        await until_answer(ended)
        took = monotonic() - since
        wake.set()
    assert asked.is_set()
    assert (await sqlite_store.answer(answer.id)).epoch == 2
    assert lease - 0.1 < took < lease + 1.5
