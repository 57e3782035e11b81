"""Puts requests into the queue again whose items are gone: the database remembers what NATS may lose.

database ── unfinished, and nothing happens ──▶ Sweeper ── chat.v1.send.<conversation> ──▶ stream CHAT
"""

import asyncio
import random

import msgspec
import structlog

from libs.bus.connection import Bus
from libs.bus.work_queue import store
from libs.contract import streams, subjects
from libs.contract.chat import ChatSend
from libs.contract.errors import RequestError
from libs.contract.frames import ClientRequest
from libs.contract.ids import new_id
from services.chat_worker.records import NewRequest
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 10.0
# Far longer than a worker's lease and than any pause of an item. To be wrong costs an item that changes nothing.
FORGOTTEN_SECONDS = 30.0
MOST_AT_ONCE = 100


class Sweeper:
    """One in every worker; the database gives each request to one of them."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def run(self) -> None:
        """Looks now and then, for ever."""
        while True:
            # Not all workers of an installation at the same moment.
            await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.7, 1.0))  # noqa: S311 (spreads load, guards nothing)
            try:
                await self.sweep()
            except RequestError as error:
                log.warning("forgotten requests could not be looked for", reason=error.message)

    async def sweep(self) -> int:
        """How many requests were put into the queue again. Raises `BusUnavailable`, `DatabaseUnavailable`."""
        forgotten = await self._store.take_forgotten(older_than_seconds=FORGOTTEN_SECONDS, limit=MOST_AT_ONCE)
        for request in forgotten:
            log.warning("a request was forgotten and is put into the queue again", request_id=request.request_id)
            await store(
                self._bus,
                streams.CHAT,
                subjects.chat_send(request.conversation_id),
                msgspec.json.encode(_as_asked(request)),
                dedupe_id=new_id(),
            )
        return len(forgotten)


def _as_asked(request: NewRequest) -> ClientRequest:
    """As the gateway would have stored it; but nobody waits on the line for the answer."""
    send = ChatSend(
        message=request.content,
        conversation_id=request.conversation_id,
        request_id=request.request_id,
        model=request.model,
        options=request.options,
    )
    return ClientRequest(
        request_id=request.request_id,
        user=request.owner,
        reply="",
        type="chat:send",
        data=msgspec.Raw(msgspec.json.encode(send)),
    )
