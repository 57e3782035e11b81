"""One running answer: its text so far, who watches it, and who may stop it. It lives in the worker that runs it.

ModelClient ── piece ──▶ Generation.add ── frame ──▶ reply.<gateway>.<connection> of each asker
                             ▲
    chat.v1.generation.<message>: attach | cancel
"""

import asyncio
from collections.abc import Coroutine
from enum import Enum, auto
from typing import NamedTuple

import msgspec
import structlog

from libs.bus.connection import Bus, BusUnavailable
from libs.contract import frames
from libs.contract.chat import Asker, ChatStreaming, GenerationCommand, GenerationReply, MessageStatus
from services.chat_worker import chat_frames
from services.chat_worker.records import Checkpoint, StoredMessage

log = structlog.get_logger(__name__)

# The bus carries 1 MiB a message, and JSON may double a text of line breaks.
MAX_ANSWER_CHARACTERS = 200_000

_encoder = msgspec.json.Encoder()
_commands = msgspec.json.Decoder(GenerationCommand)


class StopReason(Enum):
    """Why a running answer was stopped from outside."""

    CANCELLED = auto()  # somebody asked for it
    HANDED_BACK = auto()  # this worker goes away; another one begins again
    FENCED = auto()  # another worker has the answer now; nothing of ours may be seen any more


class _Watcher(NamedTuple):
    asker: Asker
    head: bytes
    """The frame up to its data, which differs from asker to asker only by the `id`."""


class Generation:
    """The answer `row` in its present epoch."""

    def __init__(self, row: StoredMessage, bus: Bus) -> None:
        self.row = row
        self.seq = 0
        self.stop_reason: StopReason | None = None
        self._status = MessageStatus.STREAMING
        self._bus = bus
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._characters = 0
        self._watchers: list[_Watcher] = []
        self._producing: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str | None:
        return "".join(self._reasoning) or None

    @property
    def full(self) -> bool:
        return self._characters >= MAX_ANSWER_CHARACTERS

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(self.row.id, self.row.epoch, self.text, self.reasoning)

    # ---- Its course ---------------------------------------------------------------------------------------------

    async def produce(self, producing: Coroutine[None, None, None]) -> None:
        """Runs `producing` until it is through, or until `stop` ends it; then `stop_reason` says why."""
        self._producing = asyncio.create_task(producing, name=f"generation {self.row.id}")
        if self.stop_reason is not None:
            self._producing.cancel()
        try:
            await self._producing
        except asyncio.CancelledError:
            if self.stop_reason is None:
                # Not `stop`: the task that waits here is being cancelled.
                self._producing.cancel()
                raise

    def stop(self, reason: StopReason) -> None:
        """Closes the model server's connection at once. The first reason stands; what is through stays as it is."""
        if self.stop_reason is not None or (self._producing is not None and self._producing.done()):
            return
        self.stop_reason = reason
        if self._producing is not None:
            self._producing.cancel()

    async def begin(self) -> None:
        """Tells those who saw an earlier attempt to forget it."""
        if self.row.epoch > 1:
            self.seq += 1
            await self._publish(self._streaming("", reset=True))

    async def add(self, text: str, reasoning: str) -> None:
        """The next piece, to everybody at once. Appends to a buffer: nothing here waits for the network."""
        self.seq += 1
        self._characters += len(text) + len(reasoning)
        if text:
            self._text.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        await self._publish(self._streaming(text, reasoning=reasoning or None))

    async def end(self, row: StoredMessage) -> None:
        """Tells everybody how it ended; `row` is what the database holds."""
        self.seq += 1
        self._status = row.status
        self._ended.set()
        await self._publish(chat_frames.ending(row, seq=self.seq))
        for watcher in self._watchers:
            for frame in chat_frames.closing_frames(row, watcher.asker):
                await self._send(watcher, frame)

    def abandon(self) -> None:
        """It ended without an end of ours to tell: another worker goes on with it, or it was deleted."""
        self._ended.set()

    # ---- Those who watch ----------------------------------------------------------------------------------------

    async def attach(self, asker: Asker) -> None:
        """Lets one more asker watch: first all the text so far as one piece, then every new piece."""
        watcher = _Watcher(asker, _head(asker))
        # The snapshot enters the bus's buffer before anything else can run, so no piece is missed or doubled.
        self._watchers.append(watcher)
        if self.seq:
            snapshot = self._streaming(self.text, reasoning=self.reasoning, reset=True)
            await self._send(watcher, watcher.head + _encoder.encode(snapshot) + b"}")

    async def tell(self, frame: bytes) -> None:
        """A finished frame to the first asker, whose request it is that waits."""
        await self._send(self._watchers[0], frame)

    async def command(self, _: str, payload: bytes) -> bytes:
        """Serves `chat.v1.generation.<message>`; a cancel is answered when the answer has ended."""
        command = _commands.decode(payload)
        if command.action == "attach" and command.asker is not None:
            await self.attach(command.asker)
        else:
            self.stop(StopReason.CANCELLED)
            await self._ended.wait()
        return _encoder.encode(GenerationReply(epoch=self.row.epoch, status=self._status))

    def _streaming(self, chunk: str, *, reasoning: str | None = None, reset: bool = False) -> ChatStreaming:
        return ChatStreaming(
            conversation_id=self.row.conversation_id,
            message_id=self.row.id,
            epoch=self.row.epoch,
            seq=self.seq,
            chunk=chunk,
            done=False,
            reasoning=reasoning,
            reset=reset,
            # Enough to know whose answer this is; the frames after it need only the message's id.
            request_id=self.row.request_id if self.seq == 1 or reset else None,
        )

    async def _publish(self, data: ChatStreaming) -> None:
        body = _encoder.encode(data) + b"}"
        for watcher in self._watchers:
            await self._send(watcher, watcher.head + body)

    async def _send(self, watcher: _Watcher, frame: bytes) -> None:
        try:
            await self._bus.publish(watcher.asker.reply, frame)
        except BusUnavailable:
            # NATS has been away for so long that its buffer is full. The text stays here and goes to the database;
            # the client sees a gap in `seq`.
            log.debug("a frame was dropped", message_id=self.row.id, seq=self.seq)


def _head(asker: Asker) -> bytes:
    """`{"type":"chat:streaming","id":…,"data":`"""
    return frames.encode("chat:streaming", None, frame_id=asker.frame_id).removesuffix(b"null}")
