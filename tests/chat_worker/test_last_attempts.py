"""Requests that have outlived two workers: one of them may kill the third one, too, and must take no other with it."""

from contextlib import AsyncExitStack

import msgspec
import pytest

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem
from libs.contract import subjects
from libs.contract.generations import GenerationCommand
from libs.contract.ids import LOCAL_USER
from services.chat_worker import answering
from services.chat_worker.generations import MAX_ATTEMPTS
from services.chat_worker.records import Claimed, NewRequest
from services.chat_worker.store import Store
from tests.chat_worker.workers import ask, worker
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until, until_answer

# Answered in part, and then the model server is silent: it runs until somebody ends it.
MODEL = "stall"
REQUESTS = ("r1", "r2", "r3")


@pytest.fixture
async def outlived(sqlite_store: Store, bus: Bus) -> Store:
    """Three requests that two workers have died of, or beside, and that come again."""
    for request_id in REQUESTS:
        answer = (await sqlite_store.record(NewRequest(LOCAL_USER, request_id, None, request_id, MODEL))).answer
        for _ in range(MAX_ATTEMPTS - 1):
            dying = await sqlite_store.claim(answer.id, worker="dead", lease_ms=0, max_attempts=MAX_ATTEMPTS)
            assert isinstance(dying, Claimed)
        await ask(bus, request_id, model=MODEL)
    return sqlite_store


async def attempts(kept: Store) -> list[int]:
    answers = [await kept.find_answer(LOCAL_USER, request_id=request_id) for request_id in REQUESTS]
    return sorted(answer.attempts for answer in answers)


async def test_two_workers_begin_two_of_them_and_the_third_one_waits(
    outlived: Store, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long they run, if that proves nothing; the third one begins when one of them has ended."""
    monkeypatch.setattr(answering, "DEADLY_SECONDS", 1000.0)
    put_off: list[WorkItem] = []
    async with ScriptedModel.running() as model, AsyncExitStack() as workers:
        for name in ("w1", "w2"):
            await workers.enter_async_context(worker(name, bus, outlived, model, ended=put_off.append))

        async def begun(*expected: int) -> bool:
            return await attempts(outlived) == list(expected)

        await until_answer(lambda: begun(2, 3, 3))
        # It was looked at again, and put off again.
        await until(lambda: len(put_off) >= 2)
        assert await begun(2, 3, 3)
        running = [
            answer
            for request_id in REQUESTS
            if (answer := await outlived.find_answer(LOCAL_USER, request_id=request_id)).attempts == MAX_ATTEMPTS
        ]
        cancel = msgspec.json.encode(GenerationCommand("cancel"))
        await bus.request(subjects.chat_generation(running[0].id), cancel, timeout=5)
        await until_answer(lambda: begun(3, 3, 3))


async def test_one_that_has_lived_long_enough_keeps_none_waiting(
    outlived: Store, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poisoned request kills at once; who is alive later is none."""
    monkeypatch.setattr(answering, "DEADLY_SECONDS", 0.2)
    async with ScriptedModel.running() as model, worker("w1", bus, outlived, model):

        async def all_run() -> bool:
            return await attempts(outlived) == [3, 3, 3] and len(model.connections) >= len(REQUESTS)

        await until_answer(all_run)
