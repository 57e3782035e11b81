"""Questions about conversations that any worker answers at once: `chat.v1.query.<name>`, request and reply.

gateway ── ClientRequest ──▶ Questions.answer ─▶ store | model servers | running answer
        ◀── finished frame ──
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from msgspec import UNSET

from libs.bus.connection import Bus, NobodyListens
from libs.contract import frames, subjects
from libs.contract.chat import (
    Answering,
    ChatCancel,
    ChatCancelled,
    ChatHistory,
    ChatHistoryFrame,
    ChatMessage,
    ConversationCreate,
    ConversationDelete,
    ConversationDeleted,
    ConversationList,
    ConversationRename,
    GenerationCommand,
    GenerationReply,
    MessageStatus,
)
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from services.chat_worker import chat_frames, metrics
from services.chat_worker.lm_studio.sources import Sources
from services.chat_worker.records import StoredMessage
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

# A running answer stops within milliseconds; saving it may wait for the database.
STOP_SECONDS = 3.0
# Longer than a lease: by then a dead worker's answer can be cancelled in the database.
CANCEL_SECONDS = 6.0
CANCEL_RETRY_SECONDS = 0.25
# A cancel sent right behind its request may reach the database first.
OVERTAKEN_SECONDS = 2.0

# Under the bus's 1 MiB: text of control characters takes six times its size as JSON.
MAX_PAGE_BYTES = 900 * 1024
MAX_HISTORY = 200

_requests = msgspec.json.Decoder(ClientRequest)
_replies = msgspec.json.Decoder(GenerationReply)
_encoder = msgspec.json.Encoder()

Answer = Callable[[ClientRequest], Awaitable[bytes]]


class Questions:
    """Answers every question of the table below with a finished frame; errors are frames too."""

    def __init__(self, store: Store, sources: Sources, bus: Bus) -> None:
        self._store = store
        self._sources = sources
        self._bus = bus
        self._answers: dict[str, Answer] = {
            "history": self._history,
            "cancel": self._cancel,
            "conversation_list": self._list,
            "conversation_create": self._create,
            "conversation_rename": self._rename,
            "conversation_delete": self._delete,
            "model_list": self._models,
        }

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """The finished frame that answers one `ClientRequest`."""
        request = _requests.decode(payload)
        name = subjects.last_token(subject)
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            try:
                if name not in self._answers:
                    raise RequestError(ErrorCode.UNKNOWN_TYPE, f"This chat worker knows no {name!r}.")
                frame = await self._answers[name](request)
            except RequestError as error:
                log.info("question refused", name=name, code=error.code)
                return frames.encode_error(error, frame_id=request.frame_id, request_id=request.request_id)
            except Exception:
                log.exception("a question failed", name=name)
                failure = RequestError(ErrorCode.INTERNAL, "Something went wrong here. Try again.")
                return frames.encode_error(failure, frame_id=request.frame_id, request_id=request.request_id)
            metrics.QUESTIONS.labels(name).inc()
            return frame

    # ---- Messages -----------------------------------------------------------------------------------------------

    async def _history(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=ChatHistory)
        page = await self._store.history(
            request.user, asked.conversation_id, limit=min(asked.limit, MAX_HISTORY), before=asked.before
        )
        messages = _newest_that_fit([chat_frames.message(row) for row in page.messages])
        return _encoder.encode(
            ChatHistoryFrame(
                type="chat:history",
                id=UNSET if request.frame_id is None else request.frame_id,
                data=messages,
                conversation_id=page.conversation_id,
                has_more=page.has_more or len(messages) < len(page.messages),
                answering=None if page.answering is None else _answering(page.answering),
            )
        )

    async def _cancel(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=ChatCancel)
        if asked.message_id is None and asked.request_id is None:
            raise RequestError(ErrorCode.INVALID_FRAME, "chat:cancel needs a messageId or a requestId.")
        row = await self._stopped(request.user, message_id=asked.message_id, request_id=asked.request_id)
        data = ChatCancelled(message_id=row.id, request_id=row.request_id, status=row.status)
        return frames.encode("chat:cancelled", data, frame_id=request.frame_id)

    async def _stopped(
        self, user: str, *, message_id: int | None = None, request_id: str | None = None
    ) -> StoredMessage:
        """Stops one answer, wherever it is: waiting, running at some worker, or left behind by a dead one."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            try:
                row = await self._store.cancel(user, message_id=message_id, request_id=request_id)
            except RequestError as error:
                late = message_id is not None or loop.time() - started > OVERTAKEN_SECONDS
                if error.code is not ErrorCode.NOT_FOUND or late:
                    raise
                await asyncio.sleep(CANCEL_RETRY_SECONDS)
                continue
            if row.status.terminal:
                return row
            status = await self._stop_running(row.id)
            if status is not None and status.terminal:
                return await self._store.answer(row.id)
            if loop.time() - started > CANCEL_SECONDS:
                raise RequestError(
                    ErrorCode.SERVICE_UNAVAILABLE,
                    "The answer could not be stopped yet. Try again.",
                    retry_after_ms=1000,
                )
            await asyncio.sleep(CANCEL_RETRY_SECONDS)

    async def _stop_running(self, message_id: int) -> MessageStatus | None:
        """How the answer ended, as its worker says; None: no worker has it."""
        command = _encoder.encode(GenerationCommand("cancel"))
        try:
            reply = await self._bus.request(subjects.chat_generation(message_id), command, timeout=STOP_SECONDS)
        except NobodyListens:
            return None
        return _replies.decode(reply).status

    # ---- Conversations ------------------------------------------------------------------------------------------

    async def _list(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=ConversationList)
        found = await self._store.list_conversations(request.user, limit=asked.limit, before=asked.before)
        return frames.encode("conversation:list", found, frame_id=request.frame_id)

    async def _create(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=ConversationCreate)
        created = await self._store.create_conversation(request.user, title=asked.title, request_id=asked.request_id)
        return frames.encode("conversation:created", created, frame_id=request.frame_id)

    async def _rename(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=ConversationRename)
        renamed = await self._store.rename_conversation(request.user, asked.conversation_id, asked.title)
        return frames.encode("conversation:renamed", renamed, frame_id=request.frame_id)

    async def _delete(self, request: ClientRequest) -> bytes:
        conversation_id = msgspec.json.decode(request.data, type=ConversationDelete).conversation_id
        # Stopped first, so that whoever watches an answer is told how it ended.
        while (running := await self._first_unfinished(request.user, conversation_id)) is not None:
            await self._stopped(request.user, message_id=running.id)
        for message_id in await self._store.delete_conversation(request.user, conversation_id):
            # Asked for or claimed since that look: nothing is left to save, but who watches is told now.
            await self._stop_running(message_id)
        deleted = ConversationDeleted(conversation_id=conversation_id)
        return frames.encode("conversation:deleted", deleted, frame_id=request.frame_id)

    async def _first_unfinished(self, user: str, conversation_id: int) -> StoredMessage | None:
        page = await self._store.history(user, conversation_id, limit=1)
        return page.answering

    # ---- Models -------------------------------------------------------------------------------------------------

    async def _models(self, request: ClientRequest) -> bytes:
        return frames.encode("model:list", await self._sources.listing(), frame_id=request.frame_id)


def _newest_that_fit(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The last messages whose JSON fits into one frame: at least one, and no single one is larger."""
    room = MAX_PAGE_BYTES
    for number, message in enumerate(reversed(messages)):
        room -= len(_encoder.encode(message))
        if room < 0 and number:
            return messages[-number:]
    return messages


def _answering(row: StoredMessage) -> Answering:
    return Answering(message_id=row.id, request_id=row.request_id, epoch=row.epoch, status=row.status)
