"""One running answer: its text so far, who watches it, and who may stop it. It lives in the worker that runs it.

ModelClient ── piece ──▶ Generation.add ── frame ──▶ reply.<gateway>.<connection> of each asker
                             ▲
    chat.v1.generation.<message>: attach | repair | resume | cancel
"""

import asyncio
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Literal, NamedTuple

import msgspec
import structlog

from libs.bus.connection import Bus, BusUnavailable
from libs.contract import frames
from libs.contract.chat import ChatStreaming, MessageStatus
from libs.contract.generations import Asker, GenerationCommand, GenerationReply, Position
from services.chat_worker import chat_frames
from services.chat_worker.lease import Lease
from services.chat_worker.records import Checkpoint, StoredMessage

log = structlog.get_logger(__name__)

# As JSON, where a control character takes six bytes: an answer's text, twice, has to fit into one message of the bus
# (1 MiB), as a piece and as the stored message behind it.
MAX_ANSWER_BYTES = 400 * 1024
# One connection may ask for the same answer under several ids; each costs a frame per piece.
MOST_WATCHERS_OF_A_CONNECTION = 8

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

    def __init__(self, row: StoredMessage, bus: Bus, lease: Lease) -> None:
        self.row = row
        self.stop_reason: StopReason | None = None
        self._bus = bus
        self._lease = lease
        self._lost = False
        # By `seq`: the piece `seq` stands at `seq - 1`. Piece 1 of a later attempt only says that it begins again.
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._room = MAX_ANSWER_BYTES
        # `seq` of the last piece that was sent; those behind it are held back.
        self._shown = 0
        self._watchers: list[_Watcher] = []
        self._producing: asyncio.Task[None] | None = None
        self._final: StoredMessage | None = None
        self.over = asyncio.Event()
        """Ended and told, or no longer ours."""

    @property
    def seq(self) -> int:
        """Of the last piece."""
        return len(self._text)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def reasoning(self) -> str | None:
        return "".join(self._reasoning) or None

    @property
    def full(self) -> bool:
        return self._room == 0

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

    def lose(self) -> None:
        """Another worker has it now: from this moment on nobody hears of it from here, whatever is through already."""
        self._lost = True
        self.stop(StopReason.FENCED)

    def begin(self) -> None:
        """Tells those who saw an earlier attempt to forget it."""
        if self.row.epoch > 1:
            self._keep("", "")
            self.show()

    def add(self, text: str, reasoning: str) -> None:
        """The next piece, to everybody at once. Nothing here waits for the network."""
        size = _json_size(text) + _json_size(reasoning)
        if size > self._room:
            text = _cut(text, self._room)
            reasoning = _cut(reasoning, self._room - _json_size(text))
        self._room = max(self._room - size, 0)
        self._keep(text, reasoning)
        self.show()

    def show(self) -> None:
        """Sends what was not sent yet, as one piece; nothing while NATS is away, or it may be another worker's."""
        if self._shown < self.seq and self._ours and self._bus.connected:
            body = self._unshown()
            sent = [self._bus.send(watcher.asker.reply, watcher.head + body) for watcher in self._watchers]
            # Who was left out alone notices it, and asks.
            if any(sent) or not sent:
                self._shown = self.seq

    async def end(self, row: StoredMessage) -> None:
        """Tells everybody how it ended; `row` is what the database holds. Who attaches from now on is told the same."""
        self._final = row
        await self._catch_up()
        for watcher in list(self._watchers):
            await self._send(watcher, self._ending(watcher, row))
        self.over.set()

    def abandon(self) -> None:
        """There is no end of ours to tell: another worker goes on with it, and those who watched will ask there."""
        self.over.set()

    # ---- Those who watch ----------------------------------------------------------------------------------------

    async def attach(self, asker: Asker) -> None:
        """Lets one more asker watch: first all the text so far as one piece, then every new piece, or the end.

        Asking twice changes nothing: a queue item that comes again must not double what its asker sees.
        """
        if asker.reply and not any(watcher.asker == asker for watcher in self._watchers):
            await self._send_missing(self._watched_by(asker), Position())

    async def tell(self, frame: bytes) -> None:
        """A finished frame to the first asker, whose request it is that waits."""
        for watcher in self._watchers[:1]:
            await self._send(watcher, [frame])

    async def command(self, _: str, payload: bytes) -> bytes:
        """Serves `chat.v1.generation.<message>`; a cancel is answered when the answer has ended."""
        command = _commands.decode(payload)
        if command.action == "cancel":
            self.stop(StopReason.CANCELLED)
            await self.over.wait()
        elif command.asker is not None and self._status is not MessageStatus.PENDING:
            await self._join(command.action, command.asker, command.after)
        return _encoder.encode(GenerationReply(epoch=self.row.epoch, status=self._status))

    @property
    def told(self) -> bool:
        """It has ended here, and everybody who watched knows how."""
        return self._final is not None and self.over.is_set()

    @property
    def _status(self) -> MessageStatus:
        if self._final is not None:
            return self._final.status
        return MessageStatus.STREAMING if self._ours and not self.over.is_set() else MessageStatus.PENDING

    @property
    def _ours(self) -> bool:
        return self._final is not None or not (self._lost or self._lease.doubtful)

    async def _join(self, action: Literal["attach", "repair", "resume"], asker: Asker, after: Position) -> None:
        # Or the next piece would begin before the place at which this asker comes in.
        await self._catch_up()
        match action:
            case "attach":
                await self.attach(asker)
            case "repair":
                await self._send_missing(self._watched_by(asker), after)
            case "resume":
                resumed = chat_frames.resumed_frame(self._final or self.row, asker)
                await self._send_missing(self._watched_by(asker), after, first=[resumed])

    def _watched_by(self, asker: Asker) -> _Watcher:
        theirs = [watcher for watcher in self._watchers if watcher.asker.reply == asker.reply]
        for watcher in theirs:
            if watcher.asker == asker:
                return watcher
        if len(theirs) >= MOST_WATCHERS_OF_A_CONNECTION:
            self._watchers.remove(theirs[0])
        watcher = _Watcher(asker, _head(asker))
        self._watchers.append(watcher)
        return watcher

    async def _send_missing(self, watcher: _Watcher, after: Position, first: list[bytes] | None = None) -> None:
        """What this watcher has not seen, as one message: no piece that is sent meanwhile comes in between."""
        told = first or []
        if (missing := self._missing(after)) is not None:
            told.append(watcher.head + _encoder.encode(missing) + b"}")
        if self._final is not None:
            told += self._ending(watcher, self._final)
        await self._send(watcher, told)

    def _missing(self, after: Position) -> ChatStreaming | None:
        if after.epoch != self.row.epoch or after.seq > self.seq:
            return self._streaming(1, reset=True) if self.seq else None
        return self._streaming(after.seq + 1) if after.seq < self.seq else None

    # ---- Frames -------------------------------------------------------------------------------------------------

    def _keep(self, text: str, reasoning: str) -> None:
        self._text.append(text)
        self._reasoning.append(reasoning)

    def _unshown(self) -> bytes:
        first = self._shown + 1
        return _encoder.encode(self._streaming(first, reset=first == 1 and self.row.epoch > 1)) + b"}"

    def _streaming(self, first: int, *, reset: bool = False) -> ChatStreaming:
        """The pieces from `first` to the last as one; with `reset` from the first on."""
        return ChatStreaming(
            conversation_id=self.row.conversation_id,
            message_id=self.row.id,
            epoch=self.row.epoch,
            seq=self.seq,
            from_seq=None if reset or first == self.seq else first,
            chunk="".join(self._text[first - 1 :]),
            done=False,
            reasoning="".join(self._reasoning[first - 1 :]) or None,
            reset=reset,
            # Enough to know whose answer this is; the frames after it need only the message's id.
            request_id=self.row.request_id if first == 1 else None,
        )

    def _ending(self, watcher: _Watcher, row: StoredMessage) -> list[bytes]:
        ending = chat_frames.ending(row, seq=self.seq + 1)
        return [watcher.head + _encoder.encode(ending) + b"}", *chat_frames.closing_frames(row, watcher.asker)]

    async def _catch_up(self) -> None:
        """`show` for whom it has to be sent now: waits until NATS takes it."""
        if self._shown < self.seq and self._ours:
            unshown, self._shown = self._unshown(), self.seq
            for watcher in list(self._watchers):
                await self._send(watcher, [watcher.head + unshown])

    async def _send(self, watcher: _Watcher, told: list[bytes]) -> None:
        if not told:
            return
        try:
            await self._bus.publish(watcher.asker.reply, frames.joined(told))
        except BusUnavailable:
            # NATS has been away for so long that its buffer is full. The text stays here and goes to the database;
            # the gateway notices what it missed, and asks for it.
            log.debug("frames were dropped", message_id=self.row.id, seq=self.seq)


def _json_size(text: str) -> int:
    return len(_encoder.encode(text)) - len('""') if text else 0


def _cut(text: str, room: int) -> str:
    """As much of it as fits into `room` bytes of JSON, or nearly."""
    while (size := _json_size(text)) > room:
        text = text[: len(text) * room // size]
    return text


def _head(asker: Asker) -> bytes:
    """`{"type":"chat:streaming","id":…,"data":`"""
    return frames.encode("chat:streaming", None, frame_id=asker.frame_id).removesuffix(b"null}")
