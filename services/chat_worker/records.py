"""What the store takes and gives back: plain values that know no database."""

from datetime import datetime

from msgspec import Struct

from libs.contract.chat import ChatOptions, MessageStatus, Role

# The finish reason of an answer that killed every worker that began it.
GAVE_UP = "gave_up"


class StoredMessage(Struct, frozen=True, kw_only=True):
    """One row: a user's message, or an answer, whose `epoch` counts the times that a worker has taken it."""

    id: int
    conversation_id: int
    request_id: str
    role: Role
    status: MessageStatus
    content: str
    reasoning: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_ms: float | None = None
    tokens_per_second: float | None = None
    epoch: int = 0
    attempts: int = 0
    created_at: datetime

    @property
    def given_up(self) -> bool:
        """It is an error because no worker survived it."""
        return self.status is MessageStatus.ERROR and self.finish_reason == GAVE_UP


class NewRequest(Struct, frozen=True):
    """A user's message to record. Without `conversation_id` it opens a conversation of its own."""

    owner: str
    request_id: str
    conversation_id: int | None
    content: str
    model: str | None = None
    options: ChatOptions | None = None


class Recorded(Struct, frozen=True):
    """The two rows of one request, `new` or found. The answer's id is the higher one."""

    user: StoredMessage
    answer: StoredMessage
    new: bool


class Checkpoint(Struct, frozen=True):
    """The text of a running answer so far."""

    message_id: int
    epoch: int
    content: str
    reasoning: str | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How an answer ended; `status` is a terminal one."""

    status: MessageStatus
    content: str
    reasoning: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ttft_ms: float | None = None
    tokens_per_second: float | None = None


class HistoryPage(Struct, frozen=True):
    """Messages, oldest first. `answering` is the first unfinished answer of the conversation, never in the list."""

    conversation_id: int | None
    messages: list[StoredMessage]
    has_more: bool
    answering: StoredMessage | None


# ---- What comes of claiming an answer ---------------------------------------------------------------------------


class Claimed(Struct, frozen=True):
    """The answer is ours under its new epoch, and empty."""

    answer: StoredMessage


class NotYourTurn(Struct, frozen=True):
    """`position` (1 or more) answers of the conversation come first."""

    answer: StoredMessage
    position: int


class RunningElsewhere(Struct, frozen=True):
    """A worker holds it, and has `lease_left_ms` (above 0) to say that it is still alive."""

    answer: StoredMessage
    lease_left_ms: int


class Ended(Struct, frozen=True):
    """Nothing is left to do."""

    answer: StoredMessage


Claim = Claimed | NotYourTurn | RunningElsewhere | Ended


class Begun(Struct, frozen=True):
    """A request that was just recorded. None is to be asked for: a repeat has no claim, and a history may be long."""

    recorded: Recorded
    claim: Claim | None = None
    history: list[tuple[Role, str]] | None = None
