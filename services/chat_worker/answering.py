"""What a worker does with one chat request, from the queue to the acknowledgement.

    WorkItem ─▶ record (user message + placeholder), claim ─▶ chat:message ─┬─▶ ours: generate, save, tell, done
                                                                            ├─▶ not its turn: later
                                                                            ├─▶ runs elsewhere: follow it there
                                                                            └─▶ ended: tell the end, done

A request may come any number of times, to any worker; the database decides who does what. An item is acknowledged
only when its answer has ended and its asker was told: until then, whatever dies, the item comes back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

import msgspec
import structlog

from libs.bus.connection import Bus, BusUnavailable
from libs.bus.work_queue import WorkItem, store
from libs.contract import frames, streams, subjects
from libs.contract.chat import ChatSend, MessageStatus
from libs.contract.errors import RequestError
from libs.contract.frames import ClientRequest
from libs.contract.generations import Asker, DeadLetter, GenerationCommand, GenerationReply
from services.chat_worker import chat_frames
from services.chat_worker.generations import Generations, is_last_attempt
from services.chat_worker.records import (
    Begun,
    Claimed,
    Ended,
    NewRequest,
    NotYourTurn,
    RunningElsewhere,
    StoredMessage,
)
from services.chat_worker.store import Store

log = structlog.get_logger(__name__)

# How soon to look again whether the answers before this one have ended; times the position, up to the longest.
TURN_SECONDS = 0.25
LONGEST_TURN_SECONDS = 2.0
# So often what a sweeper has put into the queue waits for its last attempt: 24 s. Then it may go, before a sweeper that
# has seen nothing happen for 30 s brings it back; or there would be ever more of it.
SWEPT_TURNS = 12
# While the database or another worker is away.
RETRY_SECONDS = 1.0
JOIN_SECONDS = 2.0
# A poisoned request kills its worker as soon as it is asked.
DEADLY_SECONDS = 10.0
# How often somebody who follows an answer elsewhere makes sure that it still runs there.
FOLLOW_SECONDS = 1.0

_requests = msgspec.json.Decoder(ClientRequest)
_sends = msgspec.json.Decoder(ChatSend)
_replies = msgspec.json.Decoder(GenerationReply)


class Answering:
    """Handles the items of the `CHAT` queue. One for the whole worker; keeps nothing about requests."""

    def __init__(self, store: Store, bus: Bus, generations: Generations) -> None:
        self._store = store
        self._bus = bus
        self._generations = generations
        self._last_attempt = asyncio.Lock()

    async def handle(self, item: WorkItem) -> None:
        """Brings one request one step further and ends the item accordingly."""
        try:
            request = _requests.decode(item.payload)
            send = _sends.decode(request.data)
        except msgspec.DecodeError:
            # The gateway checks every request, so this one is of another version; it would never be understood.
            log.exception("a request cannot be read and is dropped")
            await item.done()
            return
        asker = Asker(request.reply, request.frame_id)
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            try:
                await self._answer(item, request, send, asker)
            except RequestError as error:
                if error.code.retryable:
                    log.warning("a request has to wait", reason=error.message)
                    await item.later(RETRY_SECONDS)
                else:
                    log.info("a request is refused", code=error.code)
                    await self._tell(
                        asker, frames.encode_error(error, frame_id=asker.frame_id, request_id=request.request_id)
                    )
                    await item.done()

    async def _answer(self, item: WorkItem, request: ClientRequest, send: ChatSend, asker: Asker) -> None:
        begun = await self._begun(item, request, send)
        recorded = begun.recorded
        if recorded.new or item.deliveries == 1:
            # Also to somebody who repeats a request; not again while the request waits for its turn.
            await self._tell(asker, chat_frames.message_frame(recorded.user, asker))
        claim = begun.claim
        async with contextlib.AsyncExitStack() as alone:
            if claim is None and is_last_attempt(recorded.answer):
                if self._last_attempt.locked():
                    waits = asker.reply or item.deliveries < SWEPT_TURNS
                    await (item.later(LONGEST_TURN_SECONDS) if waits else item.done())
                    return
                await alone.enter_async_context(self._alone())
            claim = claim or await self._generations.claim(recorded.answer.id)
            if isinstance(claim, Claimed):
                finished = await self._generations.run(claim.answer, recorded.user, send, asker, begun.history)
                await (item.done() if finished else item.later(TURN_SECONDS))
                return
        await self._wait_or_tell(item, claim, asker)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Of requests that died together one may be the cause, and would take the others with it: they begin apart."""
        await self._last_attempt.acquire()
        holding = True

        def release() -> None:
            nonlocal holding
            if holding:
                holding = False
                self._last_attempt.release()

        # Who is alive by then is none that kills; the next one need not wait for its end.
        survived = asyncio.get_running_loop().call_later(DEADLY_SECONDS, release)
        try:
            yield
        finally:
            survived.cancel()
            release()

    async def _wait_or_tell(self, item: WorkItem, claim: NotYourTurn | RunningElsewhere | Ended, asker: Asker) -> None:
        match claim:
            case Ended(answer):
                if answer.given_up:
                    await self._bury(item, answer)
                await self._tell(asker, *chat_frames.ended(answer, asker))
                await item.done()
            case NotYourTurn(answer, position):
                if item.deliveries == 1:
                    await self._tell(asker, chat_frames.queued_frame(answer, position, asker))
                await item.later(min(TURN_SECONDS * position, LONGEST_TURN_SECONDS))
            case RunningElsewhere(answer, lease_left_ms):
                free_at = monotonic() + lease_left_ms / 1000
                if await self._follow(answer, asker, lease_left=lease_left_ms / 1000):
                    await item.done()
                else:
                    await item.later(min(max(free_at - monotonic(), 0), RETRY_SECONDS))

    async def _begun(self, item: WorkItem, request: ClientRequest, send: ChatSend) -> Begun:
        new = _new_request(request, send)
        if item.deliveries > 1 and (known := await self._store.find(new)) is not None:
            return Begun(known)
        if send.conversation_id is not None:
            await self._record_earlier(item)
        return await self._generations.begin(new)

    async def _record_earlier(self, item: WorkItem) -> None:
        """Gives the requests of one conversation their rows in the order in which they were accepted.

        Another worker may hold an earlier one and be slower to record it; whoever comes first does it for both.
        """
        async for payload in item.earlier():
            try:
                request = _requests.decode(payload)
                await self._store.record(_new_request(request, _sends.decode(request.data)))
            except msgspec.DecodeError:
                continue  # The worker that holds it says so.
            except RequestError as error:
                if error.code.retryable:
                    raise

    async def _follow(self, answer: StoredMessage, asker: Asker, *, lease_left: float) -> bool:
        """Lets the asker watch the answer where it runs, to its end. False: it does not run there any more."""
        command = msgspec.json.encode(GenerationCommand("attach", asker))
        followed = False
        # A worker that is frozen says nothing, and once its lease has run out the answer may be had.
        patience = min(lease_left, JOIN_SECONDS)
        while not self._generations.handing_back.is_set():
            try:
                reply = await self._bus.request(subjects.chat_generation(answer.id), command, timeout=patience)
            except BusUnavailable:
                raise
            except RequestError:
                return False
            patience = JOIN_SECONDS
            status = _replies.decode(reply).status
            if status.terminal:
                return True
            if status is MessageStatus.PENDING:
                return False
            if not followed:
                log.info("following a running answer", message_id=answer.id)
                followed = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._generations.handing_back.wait(), FOLLOW_SECONDS)
        return False

    async def _bury(self, item: WorkItem, answer: StoredMessage) -> None:
        """Keeps a request that no worker survived, for a person to look at. Raises `BusUnavailable`."""
        letter = DeadLetter(
            message_id=answer.id,
            request_id=answer.request_id,
            attempts=answer.attempts,
            reason=answer.error_message or "",
            request=msgspec.Raw(item.payload),
        )
        await store(
            self._bus,
            streams.CHAT_DEAD_LETTERS,
            subjects.chat_dead_letter(answer.id),
            msgspec.json.encode(letter),
            dedupe_id=f"{answer.id}",
        )
        log.error("a request is given up", message_id=answer.id, attempts=answer.attempts)

    async def _tell(self, asker: Asker, *told: bytes) -> None:
        if not asker.reply:
            return  # put into the queue again by a sweeper: nobody waits on the line
        try:
            await self._bus.publish(asker.reply, frames.joined(list(told)))
        except BusUnavailable:
            log.warning("a frame was dropped: the bus is away", type=frames.frame_type(told[0]))


def _new_request(request: ClientRequest, send: ChatSend) -> NewRequest:
    return NewRequest(request.user, request.request_id, send.conversation_id, send.message, send.model, send.options)
