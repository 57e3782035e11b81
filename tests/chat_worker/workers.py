"""A chat worker without a process around it: what takes requests from the queue and answers them."""

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
from libs.contract.ids import LOCAL_USER
from services.chat_worker.answering import Answering
from services.chat_worker.generations import Generations
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.sources import open_sources
from services.chat_worker.store import Store
from tests.scripted_model.server import ScriptedModel

PATIENT = Deadlines(connect=5, first_byte=60, idle=60, total=60)


@asynccontextmanager
async def worker(
    name: str, bus: Bus, kept: Store, model: ScriptedModel, *, ended: Callable[[WorkItem], None] = lambda _: None
) -> AsyncIterator[None]:
    """Answers requests until the block is left, and hands back what runs then. `ended`: of each turn of an item."""
    async with open_sources(
        f"{model.url}/v1", api_key=None, default=None, fallback_url="", deadlines=PATIENT
    ) as sources:
        generations = Generations(kept, bus, sources, worker=name, system_prompt="")
        answering = Answering(kept, bus, generations)

        async def handle(item: WorkItem) -> None:
            await answering.handle(item)
            ended(item)

        queue = WorkQueue(bus, streams.CHAT, handle, slots=10)
        running = asyncio.create_task(queue.run())
        alive = [
            asyncio.create_task(loop) for loop in (generations.checkpoint_forever(), generations.lease.beat_forever())
        ]
        yield
        queue.stop()
        generations.hand_back()
        await running
        for task in alive:
            task.cancel()


async def ask(bus: Bus, request_id: str, *, model: str) -> None:
    """Puts a request into the queue, as a gateway would."""
    send = ChatSend(message=request_id, model=model, request_id=request_id)
    request = ClientRequest(
        request_id=request_id,
        user=LOCAL_USER,
        reply=subjects.reply("gateway", "connection"),
        type="chat:send",
        data=Raw(msgspec.json.encode(send)),
    )
    await store(bus, streams.CHAT, subjects.chat_send(None), msgspec.json.encode(request), dedupe_id=request_id)
