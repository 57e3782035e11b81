"""Going on with an answer: `chat.v1.query.resume`, which a client asks, and `repair`, which a gateway asks itself.

               ┌─ it has ended ──────▶ all of it, from the row
find the row ──┼─ a worker runs it ──▶ that worker sends what is missing, and lets the asker watch
               └─ neither ───────────▶ the gateway asks again: it waits for its turn, or for another worker
"""

import asyncio
from typing import Literal

import msgspec

from libs.bus.connection import Bus, BusUnavailable
from libs.contract import frames, subjects
from libs.contract.chat import ChatResume, MessageStatus
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.contract.generations import Asker, GenerationCommand, GenerationReply, Position, Resumed
from services.chat_worker import chat_frames
from services.chat_worker.records import StoredMessage
from services.chat_worker.store import Store

# A worker that lives answers within milliseconds; a frozen one never.
JOIN_SECONDS = 1.0
# Somebody who comes back at once may be faster than the request on its way to the database.
OVERTAKEN_SECONDS = 2.0
OVERTAKEN_RETRY_SECONDS = 0.1

_resumes = msgspec.json.Decoder(ChatResume)
_replies = msgspec.json.Decoder(GenerationReply)
_encoder = msgspec.json.Encoder()


class Resuming:
    """Answers with `Resumed`; the frames themselves go to the asker's reply subject."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def resume(self, request: ClientRequest) -> bytes:
        """For a client: `chat:resumed`, then what it has missed."""
        asked = _resumes.decode(request.data)
        if asked.message_id is None and asked.request_id is None:
            raise RequestError(ErrorCode.INVALID_FRAME, "chat:resume needs a messageId or a requestId.")
        answer = await self._found(request, asked, seconds=OVERTAKEN_SECONDS if asked.message_id is None else 0)
        if asked.epoch > chat_frames.shown_epoch(answer):
            raise RequestError(ErrorCode.INVALID_FRAME, f"chat:resume: the answer has no epoch {asked.epoch} yet.")
        return await self._go_on("resume", request, asked, answer)

    async def repair(self, request: ClientRequest) -> bytes:
        """For a gateway that has noticed a gap, or hears nothing: what it has missed, and nothing if it has all."""
        asked = _resumes.decode(request.data)
        return await self._go_on("repair", request, asked, await self._found(request, asked, seconds=0))

    async def _found(self, request: ClientRequest, asked: ChatResume, *, seconds: float) -> StoredMessage:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            try:
                return await self._store.find_answer(
                    request.user, message_id=asked.message_id, request_id=asked.request_id
                )
            except RequestError as error:
                if error.code is not ErrorCode.NOT_FOUND or loop.time() >= deadline:
                    raise
                await asyncio.sleep(OVERTAKEN_RETRY_SECONDS)

    async def _go_on(
        self, action: Literal["resume", "repair"], request: ClientRequest, asked: ChatResume, answer: StoredMessage
    ) -> bytes:
        asker = Asker(request.reply, request.frame_id)
        if not answer.status.terminal:
            after = Position() if asked.message_id is None else Position(asked.epoch, asked.seq)
            running = await self._join(GenerationCommand(action, asker, after), answer)
            if running is not None:
                return _resumed(answer, running.epoch, running.status, running=True)
            # It may have ended just now.
            answer = await self._store.answer(answer.id)
        told = [chat_frames.resumed_frame(answer, asker)] if action == "resume" else []
        if answer.status.terminal:
            told += chat_frames.ended(answer, asker)
        if told:
            await self._bus.publish(asker.reply, frames.joined(told))
        return _resumed(answer, answer.epoch, answer.status, running=False)

    async def _join(self, command: GenerationCommand, answer: StoredMessage) -> GenerationReply | None:
        """What the worker says that runs it; None: nobody does, or whoever did is frozen."""
        subject = subjects.chat_generation(answer.id)
        try:
            reply = _replies.decode(await self._bus.request(subject, _encoder.encode(command), timeout=JOIN_SECONDS))
        except BusUnavailable:
            raise
        except RequestError:
            return None
        return None if reply.status is MessageStatus.PENDING else reply


def _resumed(answer: StoredMessage, epoch: int, status: MessageStatus, *, running: bool) -> bytes:
    return _encoder.encode(
        Resumed(message_id=answer.id, request_id=answer.request_id, epoch=epoch, status=status, running=running)
    )
