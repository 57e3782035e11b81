"""Requests that have outlived two workers: one of them may kill the third one, too, and must take no other with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copy

import msgspec
import pytest
from msgspec import Raw

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract import streams, subjects
from libs.contract.chat import ChatSend
from libs.contract.frames import ClientRequest
from libs.contract.generations import GenerationCommand
from libs.contract.ids import LOCAL_USER
from libs.database.engine import opened_engine
from services.chat_worker import answering
from services.chat_worker.answering import Answering
from services.chat_worker.generations import MAX_ATTEMPTS, Generations
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.sources import open_sources
from services.chat_worker.records import Claimed, NewRequest
from services.chat_worker.store import Store
from tests.scripted_model.server import ScriptedModel
from tests.waiting import until, until_answer

PATIENT = Deadlines(connect=5, first_byte=60, idle=60, total=60)
# Answered in part, and then the model server is silent: it runs until somebody ends it.
MODEL = "stall"
REQUESTS = ("r1", "r2", "r3")

Handler = Callable[[WorkItem], Awaitable[None]]


@pytest.fixture
async def outlived(sqlite_chat_file: Path, tmp_path: Path, bus: Bus) -> AsyncIterator[Store]:
    """Three requests that two workers have died of, or beside, and that come again."""
    file = copy(sqlite_chat_file, tmp_path / "chat.db")
    async with opened_engine(f"sqlite+aiosqlite:///{file}") as engine:
        kept = Store(engine)
        for request_id in REQUESTS:
            answer = (await kept.record(NewRequest(LOCAL_USER, request_id, None, request_id, MODEL))).answer
            for _ in range(MAX_ATTEMPTS - 1):
                dying = await kept.claim(answer.id, worker="dead", lease_ms=0, max_attempts=MAX_ATTEMPTS)
                assert isinstance(dying, Claimed)
            data = Raw(msgspec.json.encode(ChatSend(message=request_id, model=MODEL, request_id=request_id)))
            request = ClientRequest(
                request_id=request_id, user=LOCAL_USER, reply="reply.g.c", type="chat:send", data=data
            )
            await store(bus, streams.CHAT, subjects.chat_send(None), msgspec.json.encode(request), dedupe_id=request_id)
        yield kept


@asynccontextmanager
async def worker(
    name: str, bus: Bus, kept: Store, model: ScriptedModel, ended: Callable[[WorkItem], None] = lambda _: None
) -> AsyncIterator[None]:
    """Answers requests as the process does, until the block is left; `ended` hears of each turn of an item."""
    async with open_sources(
        f"{model.url}/v1", api_key=None, default=None, fallback_url="", deadlines=PATIENT
    ) as sources:
        generations = Generations(kept, bus, sources, worker=name, system_prompt="")
        handler = Answering(kept, bus, generations)

        async def handle(item: WorkItem) -> None:
            await handler.handle(item)
            ended(item)

        queue = WorkQueue(bus, streams.CHAT, handle, slots=10)
        running = asyncio.create_task(queue.run())
        checkpoints = asyncio.create_task(generations.checkpoint_forever())
        beats = asyncio.create_task(generations.lease.beat_forever())
        yield
        queue.stop()
        generations.hand_back()
        await running
        checkpoints.cancel()
        beats.cancel()


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
            await workers.enter_async_context(worker(name, bus, outlived, model, put_off.append))

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
