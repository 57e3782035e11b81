"""The answers that this worker runs: claimed, generated, saved, told; kept alive by checkpoints.

claim ─▶ Generation ◀── pieces ── ModelClient ◀── prompt ── context
             │  every 0.9 s: text + lease ─▶ Store.checkpoint (gone? then fenced)
             └─ at the end ─▶ Store.finish ─▶ `done` frame
"""

import asyncio
from time import monotonic

import structlog
from msgspec import structs

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.chat import ChatSend, MessageStatus, Role
from libs.contract.errors import RequestError
from libs.contract.generations import Asker
from libs.database.transactions import DatabaseUnavailable
from services.chat_worker import metrics
from services.chat_worker.attempt import Attempt
from services.chat_worker.generation import Generation, StopReason
from services.chat_worker.lease import Lease
from services.chat_worker.lm_studio.sources import Sources
from services.chat_worker.records import Begun, Claim, NewRequest, Outcome, StoredMessage
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

# A worker that has not renewed for so long is taken for dead; three renewals fit in, so two may fail.
LEASE_MS = 3000
CHECKPOINT_SECONDS = 0.9
# A request that has killed its worker so often is not tried again.
MAX_ATTEMPTS = 3
SAVE_RETRY_SECONDS = 0.5
# How long an ended answer can still be asked for where it ran: longer than its followers ask in turns.
LINGER_SECONDS = 3.0


def is_last_attempt(answer: StoredMessage) -> bool:
    """Who claims it now is the last one to try: all others have died of it, or beside it."""
    return not answer.status.terminal and answer.attempts == MAX_ATTEMPTS - 1


class Generations:
    """All running answers of one worker."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        sources: Sources,
        *,
        worker: str,
        system_prompt: str,
    ) -> None:
        self._store = store
        self._bus = bus
        self._sources = sources
        self._worker = worker
        self._system_prompt = system_prompt
        self.lease = Lease(LEASE_MS / 1000)
        self._running: dict[int, Generation] = {}
        self._listening: set[asyncio.Task[None]] = set()
        self.handing_back = asyncio.Event()

    def count(self) -> int:
        return len(self._running)

    async def claim(self, message_id: int) -> Claim:
        return await self._store.claim(message_id, worker=self._worker, lease_ms=LEASE_MS, max_attempts=MAX_ATTEMPTS)

    async def begin(self, request: NewRequest) -> Begun:
        return await self._store.begin(request, worker=self._worker, lease_ms=LEASE_MS)

    async def run(
        self,
        answer: StoredMessage,
        question: StoredMessage,
        send: ChatSend,
        asker: Asker,
        history: list[tuple[Role, str]] | None,
    ) -> bool:
        """Generates a claimed answer, saves it, and tells all who watch. `history`: if it was read already.

        False: it is not finished, and no longer ours; whoever still waits for it has to ask again.
        """
        generation = Generation(answer, self._bus, self.lease)
        if (before := self._running.get(answer.id)) is not None:
            # Its lease ran out while the database was away, and the claim came before the next checkpoint.
            before.lose()
        self._running[answer.id] = generation
        listening = asyncio.create_task(self._listen(generation), name=f"commands {answer.id}")
        self._listening.add(listening)
        listening.add_done_callback(self._listening.discard)
        try:
            await generation.attach(asker)
            generation.begin()
            attempt = Attempt(self._store, self._sources, generation)
            await generation.produce(attempt.produce(question, send, asker, self._system_prompt, history))
            return await self._end(generation, attempt)
        finally:
            generation.abandon()
            if self._running.get(answer.id) is generation:
                del self._running[answer.id]

    async def _listen(self, generation: Generation) -> None:
        async with self._bus.serving(subjects.chat_generation(generation.row.id), generation.command):
            await generation.over.wait()
            if generation.told:
                await asyncio.sleep(LINGER_SECONDS)

    async def _end(self, generation: Generation, attempt: Attempt) -> bool:
        if generation.stop_reason is StopReason.HANDED_BACK:
            await self._store.release(generation.row.id, generation.row.epoch)
            log.info("answer handed back", message_id=generation.row.id)
            return False
        if generation.stop_reason is StopReason.FENCED:
            log.warning("answer lost to another worker", message_id=generation.row.id)
            return False
        outcome = attempt.outcome()
        row = await self._save(generation, outcome) or await self._deleted(generation)
        if row is None:
            log.warning("answer is no longer ours to save", message_id=generation.row.id)
            return False
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
                return await self._store.finish(generation.row, outcome)
            except DatabaseUnavailable as error:
                log.warning("an answer waits to be saved", message_id=generation.row.id, reason=error.message)
                await asyncio.sleep(SAVE_RETRY_SECONDS)

    async def _deleted(self, generation: Generation) -> StoredMessage | None:
        """How to tell the end of an answer whose conversation was deleted under it; None: it still exists."""
        try:
            await self._store.answer(generation.row.id)
        except DatabaseUnavailable:
            raise
        except RequestError:
            return structs.replace(generation.row, status=MessageStatus.CANCELLED)
        return None

    # ---- Keeping them alive, and letting them go ----------------------------------------------------------------

    async def checkpoint_forever(self) -> None:
        """Saves the text of all running answers and renews their leases, in one transaction."""
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            asked_at = monotonic()
            running = dict(self._running)
            try:
                lost = await self._checkpoint(list(running.values()))
            except DatabaseUnavailable as error:
                log.warning("checkpoint failed", answers=len(running), reason=error.message)
                continue
            self.lease.renewed(asked_at)
            for message_id, generation in running.items():
                if message_id in lost:
                    generation.lose()
                generation.show()

    async def _checkpoint(self, generations: list[Generation]) -> set[int]:
        if not generations:
            return set()
        return await self._store.checkpoint([one.checkpoint() for one in generations], lease_ms=LEASE_MS)

    def hand_back(self) -> None:
        """Stops all running answers; other workers begin them again, and those who follow one ask there."""
        self.handing_back.set()
        for generation in self._running.values():
            generation.stop(StopReason.HANDED_BACK)
