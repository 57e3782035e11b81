"""One attempt at an answer: what to ask, the stream, and what it came to.

history ─▶ fit ─▶ Prompt ─▶ ModelClient ── pieces ──▶ Generation
                                 └── End | RequestError ──▶ Outcome
"""

import asyncio
from time import monotonic

import structlog

from libs.contract.chat import ChatSend, MessageStatus, Model, Role, Usage
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.generations import Asker
from libs.database.transactions import DatabaseUnavailable
from services.chat_worker import chat_frames, metrics
from services.chat_worker.context import MOST_MESSAGES, fit
from services.chat_worker.generation import Generation, StopReason
from services.chat_worker.lm_studio.client import End, ModelClient, Prompt
from services.chat_worker.lm_studio.completion import Piece
from services.chat_worker.lm_studio.sources import Sources
from services.chat_worker.records import Outcome, StoredMessage
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

HISTORY_RETRY_SECONDS = 0.5


class Attempt:
    """Asks the model server once, and remembers how it went."""

    def __init__(self, store: Store, sources: Sources, generation: Generation) -> None:
        self._store = store
        self._sources = sources
        self._generation = generation
        self._asked_at = 0.0
        self._first_at: float | None = None
        self._last_at = 0.0
        self._model: str | None = None
        self._end: End | None = None
        self._failure: RequestError | None = None

    async def produce(
        self,
        question: StoredMessage,
        send: ChatSend,
        asker: Asker,
        system_prompt: str,
        history: list[tuple[Role, str]] | None,
    ) -> None:
        """Streams the answer into the generation. Model errors are kept for `outcome`."""
        if history is None:
            history = await self._history(question)
        try:
            choice = await self._sources.choose(send.model)
            prompt = await self._prompt(choice.model, history, question, send, asker, system_prompt)
            await self._stream(choice.client, prompt)
        except RequestError as error:
            self._failure = error
            if error.code is ErrorCode.MODEL_UNAVAILABLE:
                self._sources.forget()

    async def _history(self, question: StoredMessage) -> list[tuple[Role, str]]:
        """Reads until it is read: to let go would cost an attempt, as if the request had killed this worker."""
        while True:
            try:
                return await self._store.context(
                    question.conversation_id, before_message_id=question.id, limit=MOST_MESSAGES
                )
            except DatabaseUnavailable as error:
                log.warning("an answer waits for its history", reason=error.message)
                await asyncio.sleep(HISTORY_RETRY_SECONDS)

    async def _prompt(
        self,
        model: Model,
        history: list[tuple[Role, str]],
        question: StoredMessage,
        send: ChatSend,
        asker: Asker,
        system_prompt: str,
    ) -> Prompt:
        self._model = model.id
        if model.loaded is False:
            await self._generation.tell(chat_frames.loading_frame(self._generation.row, asker))
        context = fit(
            system=system_prompt,
            history=history,
            message=question.content,
            context_length=model.context_length,
            max_tokens=send.options.max_tokens if send.options else None,
        )
        if context.left_out:
            log.info("the oldest messages do not fit into the context", left_out=context.left_out)
        return Prompt(model.id, context.messages, send.options, model.context_length)

    async def _stream(self, client: ModelClient, prompt: Prompt) -> None:
        self._asked_at = monotonic()
        self._end = await client.answer(prompt, self._take)

    def _take(self, piece: Piece) -> bool:
        self._last_at = monotonic()
        if self._first_at is None:
            self._first_at = self._last_at
            metrics.TIME_TO_FIRST_TOKEN.observe(self._first_at - self._asked_at)
        self._generation.add(piece.text, piece.reasoning)
        return not self._generation.full

    def outcome(self) -> Outcome:
        """How it went, as honestly as what is known allows."""
        usage = self._end.usage if self._end else None
        status, finish_reason = self._status()
        return Outcome(
            status=status,
            content=self._generation.text,
            reasoning=self._generation.reasoning,
            model=(self._end.model if self._end else None) or self._model,
            finish_reason=finish_reason,
            error_code=self._failure.code if self._failure else None,
            error_message=self._failure.message if self._failure else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
            ttft_ms=None if self._first_at is None else round((self._first_at - self._asked_at) * 1000, 1),
            tokens_per_second=self._tokens_per_second(usage),
        )

    def _status(self) -> tuple[MessageStatus, str | None]:
        if self._generation.stop_reason is StopReason.CANCELLED:
            return MessageStatus.CANCELLED, None
        if self._failure is not None:
            return MessageStatus.ERROR, None
        if self._generation.full:
            return MessageStatus.COMPLETE, "length"
        if self._end is None or self._end.finish_reason is None:
            # The stream ended and nobody said why: it may be cut short.
            return MessageStatus.INTERRUPTED, None
        return MessageStatus.COMPLETE, self._end.finish_reason

    def _tokens_per_second(self, usage: Usage | None) -> float | None:
        if usage is None or self._first_at is None or self._last_at <= self._first_at or usage.completion_tokens < 2:
            return None
        # The first token came at the start of this time.
        return round((usage.completion_tokens - 1) / (self._last_at - self._first_at), 1)
