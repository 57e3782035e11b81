"""The finished frames of a chat, made from stored rows."""

from libs.contract import frames
from libs.contract.chat import (
    AnswerError,
    ChatMessage,
    ChatResumed,
    ChatStatus,
    ChatStreaming,
    MessageStatus,
    Usage,
)
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.generations import Asker
from services.chat_worker.records import StoredMessage


def message(row: StoredMessage) -> ChatMessage:
    """A row as clients see it."""
    return ChatMessage(
        id=row.id,
        role=row.role,
        content=row.content,
        timestamp=row.created_at,
        conversation_id=row.conversation_id,
        request_id=row.request_id,
        status=row.status,
        reasoning=row.reasoning,
        model=row.model,
        error=_error(row),
    )


def message_frame(row: StoredMessage, asker: Asker) -> bytes:
    return frames.encode("chat:message", message(row), frame_id=asker.frame_id)


def queued_frame(answer: StoredMessage, position: int, asker: Asker) -> bytes:
    data = ChatStatus(
        request_id=answer.request_id,
        conversation_id=answer.conversation_id,
        message_id=answer.id,
        status="queued",
        position=position,
    )
    return frames.encode("chat:status", data, frame_id=asker.frame_id)


def loading_frame(answer: StoredMessage, asker: Asker) -> bytes:
    data = ChatStatus(
        request_id=answer.request_id,
        conversation_id=answer.conversation_id,
        message_id=answer.id,
        status="loading_model",
    )
    return frames.encode("chat:status", data, frame_id=asker.frame_id)


def resumed_frame(answer: StoredMessage, asker: Asker) -> bytes:
    data = ChatResumed(message_id=answer.id, request_id=answer.request_id, epoch=answer.epoch, status=answer.status)
    return frames.encode("chat:resumed", data, frame_id=asker.frame_id)


def shown_epoch(row: StoredMessage) -> int:
    """Clients begin to count with 1; an answer that ended before anybody ran it has none of its own."""
    return max(row.epoch, 1)


def whole_text(row: StoredMessage) -> ChatStreaming:
    """An ended answer's text in one piece, for somebody who was not there while it ran."""
    return ChatStreaming(
        conversation_id=row.conversation_id,
        message_id=row.id,
        epoch=shown_epoch(row),
        seq=1,
        chunk=row.content,
        done=False,
        reasoning=row.reasoning,
        reset=True,
        request_id=row.request_id,
    )


def ending(row: StoredMessage, *, seq: int) -> ChatStreaming:
    """The `done` frame: how the answer ended, as it stands in the database."""
    usage = None
    if row.prompt_tokens is not None and row.completion_tokens is not None:
        usage = Usage(prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens)
    return ChatStreaming(
        conversation_id=row.conversation_id,
        message_id=row.id,
        epoch=shown_epoch(row),
        seq=seq,
        chunk="",
        done=True,
        request_id=row.request_id,
        status=row.status,
        finish_reason=row.finish_reason,
        usage=usage,
        ttft_ms=row.ttft_ms,
        tokens_per_second=row.tokens_per_second,
        model=row.model,
        error=_error(row),
    )


def ended(row: StoredMessage, asker: Asker) -> list[bytes]:
    """A whole ended answer, for somebody who was not there."""
    return [
        frames.encode("chat:streaming", whole_text(row), frame_id=asker.frame_id),
        frames.encode("chat:streaming", ending(row, seq=2), frame_id=asker.frame_id),
        *closing_frames(row, asker),
    ]


def closing_frames(row: StoredMessage, asker: Asker) -> list[bytes]:
    """What follows the `done` frame: the stored message, if there is any text, then why it failed, if it did."""
    after = []
    if row.content or row.status is MessageStatus.COMPLETE:
        after.append(message_frame(row, asker))
    if row.status is MessageStatus.ERROR:
        failure = RequestError(
            ErrorCode(row.error_code or ErrorCode.INTERNAL), row.error_message or "The answer failed."
        )
        after.append(frames.encode_error(failure, frame_id=asker.frame_id, request_id=row.request_id))
    return after


def _error(row: StoredMessage) -> AnswerError | None:
    if row.error_code is None:
        return None
    return AnswerError(code=ErrorCode(row.error_code), message=row.error_message or "")
