"""Answers of workers that are dead or stand still: another one begins them again as soon as it may."""

import asyncio
from time import monotonic

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.chat import MessageStatus, Role
from libs.contract.ids import LOCAL_USER
from libs.database.transactions import DatabaseUnavailable
from services.chat_worker.generations import MAX_ATTEMPTS
from services.chat_worker.records import NewRequest
from services.chat_worker.store import Store
from tests.chat_worker.workers import ask, worker
from tests.on_the_bus import serving
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until, until_answer


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


async def test_a_worker_that_claims_its_own_answer_again_lets_go_of_it_first(sqlite_store: Store, bus: Bus) -> None:
    """Its lease ran out while the database was away, and the request came again before the next checkpoint."""
    answer = (await sqlite_store.record(NewRequest(LOCAL_USER, "r1", None, "r1", "stall"))).answer
    async with ScriptedModel.running() as model, worker("w1", bus, sqlite_store, model):

        async def epoch() -> int:
            return (await sqlite_store.answer(answer.id)).epoch

        async def begun() -> bool:
            return await epoch() == 1 and len(model.connections) == 1

        async def begun_again() -> bool:
            if await epoch() == 1:
                # A free answer that still runs. A checkpoint may come first, and take it back.
                await sqlite_store.release(answer.id, 1)
                await ask(bus, "r1", model="stall")
            return await epoch() == 2

        await ask(bus, "r1", model="stall")
        await until_answer(begun)
        (first,) = model.connections
        await until_answer(begun_again)
        await until(lambda: len(model.connections) == 1 and first not in model.connections)
    assert (await sqlite_store.answer(answer.id)).status is MessageStatus.STREAMING


class Flapping(Store):
    """Its database is away when a history is read, so often."""

    failures = MAX_ATTEMPTS

    async def context(self, conversation_id: int, *, before_message_id: int, limit: int) -> list[tuple[Role, str]]:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("The database cannot be used at the moment.")
        return await super().context(conversation_id, before_message_id=before_message_id, limit=limit)


async def test_a_database_that_fails_at_a_history_costs_no_attempt(sqlite_store: Store, bus: Bus) -> None:
    """Three of them ended an accepted request as if it had killed three workers."""
    flapping = Flapping(sqlite_store._engine)
    answer = (await flapping.record(NewRequest(LOCAL_USER, "r1", None, "r1", "echo"))).answer
    async with ScriptedModel.running() as model, worker("w1", bus, flapping, model):
        await ask(bus, "r1", model="echo")

        async def ended() -> bool:
            return (await flapping.answer(answer.id)).status.terminal

        await until_answer(ended)
    stored = await flapping.answer(answer.id)
    assert (stored.status, stored.attempts, flapping.failures) == (MessageStatus.COMPLETE, 1, 0)
