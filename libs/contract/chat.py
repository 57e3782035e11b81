"""Chat: what clients ask, what they are told, and how workers speak about a running answer."""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from libs.contract.errors import ErrorCode
from libs.contract.frames import FrameId
from libs.contract.ids import RequestId, RowId
from libs.contract.moments import Moment


class Role(StrEnum):
    """Who says a message."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class MessageStatus(StrEnum):
    """Where a message stands. A user's message is complete from the start; an answer passes through the first two."""

    PENDING = "pending"
    STREAMING = "streaming"
    COMPLETE = "complete"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    ERROR = "error"

    @property
    def terminal(self) -> bool:
        return self not in (MessageStatus.PENDING, MessageStatus.STREAMING)


# ---- What clients ask -------------------------------------------------------------------------------------------

ModelName = Annotated[str, Meta(min_length=1, max_length=200)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]


class ChatOptions(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the model should answer; what is left out is the model server's choice."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    stop: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=4)] | None = None


class ChatSend(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:send`. Without `conversationId` it opens a conversation; the answer's frames say its id."""

    message: Annotated[str, Meta(min_length=1)]
    conversation_id: RowId | None = None
    request_id: RequestId | None = None
    model: ModelName | None = None
    options: ChatOptions | None = None


class ChatHistory(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:history`: the last `limit` messages, or those before `before`; by default of the newest conversation."""

    conversation_id: RowId | None = None
    # More than 200 gives 200.
    limit: Annotated[int, Meta(ge=1)] = 50
    before: RowId | None = None


class ChatCancel(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:cancel`: stop one answer, named by its message or by the request that asked for it."""

    message_id: RowId | None = None
    request_id: RequestId | None = None


class ConversationList(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`conversation:list`: most recently used first; `before` is the `cursor` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    before: Annotated[str, Meta(max_length=64)] | None = None


class ConversationCreate(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`conversation:create`; the same `requestId` again gives the same conversation."""

    title: Title | None = None
    request_id: RequestId | None = None


class ConversationRename(Struct, frozen=True, rename="camel"):
    """`conversation:rename`."""

    conversation_id: RowId
    title: Title


class ConversationDelete(Struct, frozen=True, rename="camel"):
    """`conversation:delete`: the conversation, its messages, and whatever answer is running in it."""

    conversation_id: RowId


# ---- What clients are told --------------------------------------------------------------------------------------


class Usage(Struct, frozen=True, rename="camel"):
    """Tokens as the model server counted them."""

    prompt_tokens: int
    completion_tokens: int


class AnswerError(Struct, frozen=True, rename="camel"):
    """Why an answer did not become complete."""

    code: ErrorCode
    message: str


class ChatMessage(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:message`, and one entry of `chat:history`. The fields after `timestamp` are for clients that know them."""

    id: int
    role: Role
    content: str
    timestamp: Moment
    conversation_id: int
    request_id: str
    status: MessageStatus
    reasoning: str | None = None
    model: str | None = None
    error: AnswerError | None = None


class Answering(Struct, frozen=True, rename="camel"):
    """An answer in progress, so that another tab can show that it is coming."""

    message_id: int
    request_id: str
    epoch: int
    status: MessageStatus


class ChatHistoryFrame(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole `chat:history` frame, not its data: old clients need `data` to be the bare list, oldest first.

    `has_more`: older messages exist; ask again with `before` set to the first id of this page.
    """

    type: Literal["chat:history"]
    id: FrameId | UnsetType = UNSET
    data: list[ChatMessage]
    conversation_id: int | None
    has_more: bool
    answering: Answering | None


class ChatStreaming(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:streaming`: the next piece of an answer, or (`done`) its end.

    `seq` counts the frames of one `epoch` from 1. `reset`: forget the text of this message shown so far.
    The fields from `status` on stand in the `done` frame only.
    """

    conversation_id: int
    message_id: int
    epoch: int
    seq: int
    chunk: str
    done: bool
    reasoning: str | None = None
    reset: bool = False
    request_id: str | None = None
    status: MessageStatus | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    ttft_ms: float | None = None
    tokens_per_second: float | None = None
    model: str | None = None
    error: AnswerError | None = None


class ChatStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`chat:status`: accepted, and why there is no text yet. `position` counts the answers before this one."""

    request_id: str
    conversation_id: int
    message_id: int
    status: Literal["queued", "loading_model"]
    position: int | None = None


class ChatCancelled(Struct, frozen=True, rename="camel"):
    """`chat:cancelled`, the direct answer to `chat:cancel`: how the answer stands now, with what text it has kept."""

    message_id: int
    request_id: str
    status: MessageStatus


class Conversation(Struct, frozen=True, rename="camel"):
    """One conversation, as `conversation:create` and `:rename` return it and `conversation:list` lists it."""

    id: int
    title: str
    created_at: Moment
    updated_at: Moment


class Conversations(Struct, frozen=True, rename="camel"):
    """`conversation:list`. `cursor` asks for the next page; null: this was the last."""

    conversations: list[Conversation]
    cursor: str | None


class ConversationDeleted(Struct, frozen=True, rename="camel"):
    """`conversation:deleted`, the direct answer to `conversation:delete`."""

    conversation_id: int


class Model(Struct, frozen=True, rename="camel"):
    """One model of the model server; null where that server does not say."""

    id: str
    loaded: bool | None
    context_length: int | None
    max_context_length: int | None


class Models(Struct, frozen=True, rename="camel"):
    """`model:list`. `default` answers a `chat:send` that names no model; null: the server has none."""

    models: list[Model]
    default: str | None


# ---- How workers speak about a running answer -------------------------------------------------------------------


class Asker(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Somebody who waits for an answer: a connection's reply subject, and the client's word for the request."""

    reply: str
    frame_id: FrameId | None = None


class GenerationCommand(Struct, frozen=True, rename="camel", omit_defaults=True):
    """To the worker that runs an answer: let `attach` see it too, or stop it."""

    action: Literal["attach", "cancel"]
    asker: Asker | None = None


class GenerationReply(Struct, frozen=True, rename="camel"):
    """From that worker: done; `status` is how the answer stands after it. Pending: it does not run there any more."""

    epoch: int
    status: MessageStatus
