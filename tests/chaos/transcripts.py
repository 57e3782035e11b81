"""What clients were promised, and what they made of the frames: one `Asked` a request, one `View` a screen it is on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from libs.contract.chat import MessageStatus
from services.chat_worker.context import MOST_MESSAGES
from tests.chaos.wire import Frame
from tests.scripted_model.answers import expected_answer, numbered_tokens

# While the model is away for long its questions have no answers between them; the worker gives it no more than these.
MOST_JOINED = MOST_MESSAGES


@dataclass
class Asked:
    """One `chat:send`, however often it was sent."""

    request_id: str
    conversation_id: int | None
    message: str
    model: str
    at: float
    repeated: bool = False
    """Sent again also after it was accepted. Others are not: the system alone has to bring them to their end."""
    poison: bool = False
    """It kills whoever takes it."""
    accepted_at: float | None = None
    message_id: int | None = None
    """The answer's, as soon as somebody was told it."""
    cancelled_as: str | None = None
    """The status that `chat:cancelled` named."""
    views: list["View"] = field(default_factory=list)
    marks: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Epoch → the tokens of one attempt alone that anybody was shown, or that are stored: an epoch is one attempt."""

    def whole_texts(self, questions: Sequence[str]) -> list[str]:
        """What the model may say to this when nobody stops it.

        `questions`: those of the conversation up to this one. A question whose answer stayed empty is joined with the
        next one, so how many of them an echo answers depends on what happened to the answers before.
        """
        match self.model.split("-"):
            case ["unique" | "paced" | "tokens", count, *_]:
                return ["".join(numbered_tokens(int(count)))]
            case _:
                last = questions[-MOST_JOINED:]
                return [expected_answer("\n\n".join(last[number:])) for number in reversed(range(len(last)))]

    def without_mark(self, text: str) -> str:
        """What is left of an answer without the token that is of this attempt alone."""
        return text.partition(" ")[2] if self.model.startswith("unique") else text

    def saw(self, epoch: int, text: str) -> None:
        """This much of the answer's text, under this epoch."""
        mark, whole, _ = text.partition(" ")
        if whole and self.model.startswith("unique"):
            self.marks[epoch].add(mark)

    def data(self) -> Frame:
        """The data of its `chat:send`."""
        data: Frame = {"message": self.message, "model": self.model, "requestId": self.request_id}
        return data if self.conversation_id is None else {**data, "conversationId": self.conversation_id}


class Step(Enum):
    """What one `chat:streaming` frame is to a view."""

    NEXT = auto()
    DOUBLE = auto()  # a position that was shown before
    STALE = auto()  # of an epoch before the one that is shown
    GAP = auto()  # something is missing before it


class View:
    """One client's picture of one answer, by the rules of the protocol.

    Next: same epoch, and `fromSeq` (else `seq`) is one more than the last. `reset` counts whatever its seq.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.text = ""
        self.epoch = 0
        self.seq = 0
        self.began_epoch_at = 0.0
        self.last_at = 0.0
        self.done: Frame | None = None
        self.message: Frame | None = None
        self.error: Frame | None = None
        self.given_up = False
        """This client left before the end."""
        asked.views.append(self)

    @property
    def over(self) -> bool:
        """Nothing is to follow."""
        if self.done is None:
            return False
        if self.done["status"] == MessageStatus.ERROR:
            return self.error is not None
        return self.message is not None or (not self.text and self.done["status"] != MessageStatus.COMPLETE)

    def take(self, data: Frame) -> Step:
        """One frame's data."""
        epoch, seq, first = data["epoch"], data["seq"], data.get("fromSeq", data["seq"])
        if epoch < self.epoch:
            return Step.STALE
        if data.get("reset"):
            self.text = data["chunk"]
            self.done = None
        elif epoch == self.epoch and seq <= self.seq:
            return Step.DOUBLE
        elif first == self.seq + 1 and (epoch == self.epoch or self.epoch == 0):
            self.text += data["chunk"]
        else:
            return Step.GAP
        self.epoch, self.seq = epoch, seq
        self.asked.saw(epoch, self.text)
        if data["done"]:
            self.done = data
        return Step.NEXT
