"""The answers that this worker runs: claimed, generated, saved, told; kept alive by checkpoints.

claim ─▶ Generation ◀── pieces ── ModelClient ◀── prompt ── context
             │  every 1.2 s: text + lease ─▶ Store.checkpoint (gone? then fenced)
             └─ at the end ─▶ Store.finish ─▶ `done` frame
"""

import asyncio

import structlog

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.chat import Asker, ChatSend
from libs.database.transactions import DatabaseUnavailable
from services.chat_worker import metrics
from services.chat_worker.attempt import Attempt
from services.chat_worker.generation import Generation, StopReason
from services.chat_worker.lm_studio.client import ModelClient
from services.chat_worker.lm_studio.models import ModelCatalog
from services.chat_worker.records import Claim, Outcome, StoredMessage
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

# A worker that has not renewed for so long is taken for dead; three renewals fit in, so two may fail.
LEASE_MS = 4000
CHECKPOINT_SECONDS = 1.2
# A request that has killed its worker so often is not tried again.
MAX_ATTEMPTS = 3
SAVE_RETRY_SECONDS = 0.5


class Generations:
    """All running answers of one worker."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        client: ModelClient,
        catalog: ModelCatalog,
        *,
        worker: str,
        system_prompt: str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._client = client
        self._catalog = catalog
        self._worker = worker
        self._system_prompt = system_prompt
        self._running: dict[int, Generation] = {}

    def count(self) -> int:
        return len(self._running)

    async def claim(self, message_id: int) -> Claim:
        return await self._store.claim(message_id, worker=self._worker, lease_ms=LEASE_MS, max_epoch=MAX_ATTEMPTS)

    async def run(self, answer: StoredMessage, question: StoredMessage, send: ChatSend, asker: Asker) -> bool:
        """Generates a claimed answer, saves it, and tells all who watch. False: it was handed back unfinished."""
        generation = Generation(answer, self._bus)
        self._running[answer.id] = generation
        try:
            async with self._bus.serving(subjects.chat_generation(answer.id), generation.command):
                await generation.attach(asker)
                await generation.begin()
                attempt = Attempt(self._store, self._client, self._catalog, generation)
                await generation.produce(attempt.produce(question, send, asker, self._system_prompt))
                finished = await self._end(generation, attempt)
        finally:
            generation.abandon()
            del self._running[answer.id]
        return finished

    async def _end(self, generation: Generation, attempt: Attempt) -> bool:
        if generation.stop_reason is StopReason.HANDED_BACK:
            await self._store.release(generation.row.id, generation.row.epoch)
            log.info("answer handed back", message_id=generation.row.id)
            return False
        if generation.stop_reason is StopReason.FENCED:
            log.warning("answer lost to another worker", message_id=generation.row.id)
            return True
        outcome = attempt.outcome()
        row = await self._save(generation, outcome)
        if row is None:
            log.warning("answer is no longer ours to save", message_id=generation.row.id)
            return True
        await generation.end(row)
        metrics.GENERATIONS.labels(row.status).inc()
        metrics.COMPLETION_TOKENS.inc(row.completion_tokens or 0)
        log.info(
            "answer ended",
            message_id=row.id,
            status=row.status,
            finish_reason=row.finish_reason,
            error_code=row.error_code,
            characters=len(row.content),
            ttft_ms=row.ttft_ms,
        )
        return True

    async def _save(self, generation: Generation, outcome: Outcome) -> StoredMessage | None:
        """Saves until it is saved: while the database is away the text is only here."""
        while True:
            try:
                return await self._store.finish(generation.row.id, generation.row.epoch, outcome)
            except DatabaseUnavailable as error:
                log.warning("an answer waits to be saved", message_id=generation.row.id, reason=error.message)
                await asyncio.sleep(SAVE_RETRY_SECONDS)

    # ---- Keeping them alive, and letting them go ----------------------------------------------------------------

    async def checkpoint_forever(self) -> None:
        """Saves the text of all running answers and renews their leases, in one transaction."""
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            checkpoints = [generation.checkpoint() for generation in self._running.values()]
            if not checkpoints:
                continue
            try:
                lost = await self._store.checkpoint(checkpoints, lease_ms=LEASE_MS)
            except DatabaseUnavailable as error:
                log.warning("checkpoint failed", answers=len(checkpoints), reason=error.message)
                continue
            for message_id in lost:
                if message_id in self._running:
                    self._running[message_id].stop(StopReason.FENCED)

    def hand_back(self) -> None:
        """Stops all running answers; other workers begin them again."""
        for generation in self._running.values():
            generation.stop(StopReason.HANDED_BACK)
