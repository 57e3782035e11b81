"""How gateways and workers speak about a running answer; clients see nothing of this.

gateway ── ClientRequest ──▶ any worker ── GenerationCommand ──▶ the worker that runs the answer
        ◀── Resumed ────────            ◀── GenerationReply ────
"""

from typing import Literal

from msgspec import Raw, Struct

from libs.contract.chat import MessageStatus
from libs.contract.frames import FrameId


class Asker(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Somebody who waits for an answer: a connection's reply subject, and the client's word for the request."""

    reply: str
    frame_id: FrameId | None = None


class Position(Struct, frozen=True):
    """Up to where somebody has seen an answer. Epoch 0: nothing."""

    epoch: int = 0
    seq: int = 0


class GenerationCommand(Struct, frozen=True, rename="camel", omit_defaults=True):
    """To the worker that runs an answer: stop it, or let `asker` see it too.

    `attach` changes nothing for who sees it already. `repair` also sends what is missing behind the position `after`;
    `resume` says `chat:resumed` before that.
    """

    action: Literal["attach", "repair", "resume", "cancel"]
    asker: Asker | None = None
    after: Position = Position()


class GenerationReply(Struct, frozen=True, rename="camel"):
    """From that worker: done; `status` is how the answer stands after it. Pending: it does not run there any more."""

    epoch: int
    status: MessageStatus


class DeadLetter(Struct, frozen=True, rename="camel"):
    """A request that is not tried again, kept for a person: `request` is the `ClientRequest` as it was stored."""

    message_id: int
    request_id: str
    attempts: int
    reason: str
    request: Raw


class Resumed(Struct, frozen=True, rename="camel"):
    """From a worker to a gateway, whose question it answers: what became of its `chat:resume`, or of its own repair.

    The frames themselves go to the connection's reply subject. `running`: some worker has the answer, and its frames
    come from now on. Neither running nor ended: it waits for its turn or for another worker; ask again.
    """

    message_id: int
    request_id: str
    epoch: int
    status: MessageStatus
    running: bool
