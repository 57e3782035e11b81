"""A worker without a process of its own: the real queue, store, model client and answers, put together as in main."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkQueue, store
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


@asynccontextmanager
async def working(bus: Bus, rows: Store, model_url: str, *, slots: int) -> AsyncIterator[WorkQueue]:
    """Until the block is left; then it hands back what it still runs."""
    async with open_sources(model_url, default="echo", deadlines=Deadlines()) as sources:
        generations = Generations(rows, bus, sources, worker=new_id(), system_prompt="")
        queue = WorkQueue(bus, streams.CHAT, Answering(rows, bus, generations).handle, slots=slots)
        consumer = asyncio.create_task(queue.run())
        beside = [
            asyncio.create_task(loop) for loop in (generations.checkpoint_forever(), generations.lease.beat_forever())
        ]
        try:
            yield queue
        finally:
            await drain(queue, consumer, generations, 0)
            for task in beside:
                task.cancel()
            assert consumer.done()


async def ask(bus: Bus, request_id: str, *, model: str, reply: str = "reply.test.1") -> None:
    """A request that opens a conversation, as the gateway stores it; without `reply`, as a sweeper does."""
    data = msgspec.json.encode(ChatSend(message=f"Olá, {request_id}", request_id=request_id, model=model))
    request = ClientRequest(request_id, LOCAL_USER, reply, "chat:send", None, msgspec.Raw(data))
    await store(bus, streams.CHAT, subjects.chat_send(None), msgspec.json.encode(request), dedupe_id=new_id())
