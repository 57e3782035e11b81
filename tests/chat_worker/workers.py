"""A worker without a process of its own: the real queue, store, model client and answers, put together as in main."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from msgspec import Raw

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract import streams, subjects
from libs.contract.chat import ChatSend
from libs.contract.frames import ClientRequest
from libs.contract.ids import LOCAL_USER, new_id
from services.chat_worker.answering import Answering
from services.chat_worker.generations import Generations
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.sources import open_sources
from services.chat_worker.main import drain
from services.chat_worker.store import Store
from tests.scripted_model.server import ScriptedModel

ASKER = subjects.reply("gateway", "connection")


@asynccontextmanager
async def worker(
    name: str,
    bus: Bus,
    kept: Store,
    model: ScriptedModel,
    *,
    slots: int = 10,
    ended: Callable[[WorkItem], None] = lambda _: None,
) -> AsyncIterator[None]:
    """Answers requests until the block is left, and hands back what runs then. `ended`: of each turn of an item."""
    async with open_sources(f"{model.url}/v1", deadlines=Deadlines()) as sources:
        generations = Generations(kept, bus, sources, worker=name, system_prompt="")
        answering = Answering(kept, bus, generations)

        async def handle(item: WorkItem) -> None:
            await answering.handle(item)
            ended(item)

        queue = WorkQueue(bus, streams.CHAT, handle, slots=slots)
        consumer = asyncio.create_task(queue.run())
        beside = [
            asyncio.create_task(loop) for loop in (generations.checkpoint_forever(), generations.lease.beat_forever())
        ]
        try:
            yield
        finally:
            await drain(queue, consumer, generations, 0)
            for task in beside:
                task.cancel()
            assert consumer.done()


async def ask(bus: Bus, request_id: str, *, model: str, reply: str = ASKER) -> None:
    """Puts a request that opens a conversation into the queue, as a gateway would; without `reply`, as a sweeper."""
    data = Raw(msgspec.json.encode(ChatSend(message=request_id, model=model, request_id=request_id)))
    request = ClientRequest(request_id, LOCAL_USER, reply, "chat:send", None, data)
    await store(bus, streams.CHAT, subjects.chat_send(None), msgspec.json.encode(request), dedupe_id=new_id())
