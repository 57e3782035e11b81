"""One client's WebSocket: what it sends becomes requests, what is for it waits in its queue.

client ══ text ══▶ Connection._receive ─▶ Requests ─▶ bus
client ◀═ text ══ sockets, Connection._send ◀─ SendQueue ◀┬─ Answers ◀─ Connection.take ◀─ Connections.deliver
                                                          └─ Subscriptions ◀─ topics
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from libs.contract import frames, protocol, subjects
from libs.contract.close_codes import CloseCode
from libs.contract.errors import RequestError
from libs.contract.frames import FrameId, Limits, SessionReady
from libs.contract.ids import LOCAL_USER, new_id
from libs.runtime.serving import WEBSOCKET_PING_SECONDS
from services.gateway import metrics
from services.gateway.answers import Answers
from services.gateway.pending import Pending, cancel
from services.gateway.places import Place, place_of, request_id_of
from services.gateway.repairs import Repairs
from services.gateway.requests import Caller, Order, Question, Requests, Resume, error_frame
from services.gateway.send_queue import SendQueue
from services.gateway.sockets import writer_of
from services.gateway.subscriptions import Following, Subscriptions
from services.gateway.topics import Topics

log = structlog.get_logger(__name__)

# Questions of one client that may be under way at once.
MAX_QUESTIONS = 16
# A page that comes back follows all it shows at once.
MAX_WISHES = 256
# What a connection that is sent away may still take: to be answered what it asked, and to be told goodbye.
CLOSE_SECONDS = 2.0
# Who reads too slowly may read this much later why it was sent away. It holds nothing of ours meanwhile.
TOO_SLOW_SECONDS = 20.0


class Gateway(NamedTuple):
    """What all connections of one gateway have in common."""

    id: str
    requests: Requests
    topics: Topics
    repairs: Repairs
    limits: Limits
    send_queue_bytes: int


class Connection:
    """One client's socket: a loop that reads, a loop that writes, and the questions under way."""

    def __init__(self, websocket: WebSocket, gateway: Gateway) -> None:
        self.id = new_id()
        self.queue = SendQueue(gateway.send_queue_bytes, write=writer_of(websocket))
        self.questions = Pending(MAX_QUESTIONS)
        self.wishes = Pending(MAX_WISHES)
        self.ended = asyncio.Event()
        self._following = asyncio.Lock()
        self._handling = asyncio.Lock()
        self._websocket = websocket
        self._requests = gateway.requests
        self._limits = gateway.limits
        self._closing: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        self._caller = Caller(connection_id=self.id, user=LOCAL_USER, reply=subjects.reply(gateway.id, self.id))
        self.answers = Answers(self._caller, gateway.repairs, self.put)
        self.subscriptions = Subscriptions(
            gateway.topics, self._caller.user, self.put, limit=gateway.limits.subscriptions
        )
        # Before the handshake has begun: nothing comes before it, not even `session:draining`.
        self.put(frames.encode("session:ready", self._ready()))

    async def run(self) -> None:
        """Serves the client until it leaves, reads too slowly, or is sent away."""
        try:
            await self._websocket.accept()
            await self._exchange()
        except WebSocketDisconnect:
            log.debug("a client left during its handshake", connection=self.id)
        finally:
            await self._let_go()
            self.ended.set()

    async def _exchange(self) -> None:
        receiving = asyncio.create_task(self._receive(), name=f"receive {self.id}")
        sending = asyncio.create_task(self._send(), name=f"send {self.id}")
        try:
            await asyncio.wait((receiving, sending, self._closing), return_when=asyncio.FIRST_COMPLETED)
            if self._closing.done():
                await self._say_goodbye(self._closing.result(), receiving, sending)
        finally:
            await cancel(receiving, sending)
        for loop in (receiving, sending):
            if not loop.cancelled() and (error := loop.exception()) is not None:
                raise error

    def take(self, message: bytes) -> None:
        """Finished frames from the bus. What follows a piece in one message belongs to it, and shares its fate."""
        if self.queue.overflowed:
            return
        wanted = True
        for frame in frames.separated(message):
            place = place_of(frame)
            if place is not None:
                wanted = self.answers.take(place, frame)
            elif frames.frame_type(frame) == "error" and (request_id := request_id_of(frame)) is not None:
                self.answers.expect_nothing(request_id)
            if wanted:
                self.put(frame, place=place)

    def put(self, frame: bytes, *, newest_of: str | None = None, place: Place | None = None) -> None:
        """Queues a finished frame; a client that leaves too much unread is sent away."""
        metrics.FRAMES_OUT[frames.frame_type(frame)] += 1
        self.queue.put(frame, newest_of=newest_of, place=place)
        if self.queue.overflowed:
            self.close(CloseCode.TOO_SLOW)

    def close(self, code: CloseCode) -> None:
        if not self._closing.done():
            self._closing.set_result(code)

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            async with self._handling:
                await self._handle(message["bytes"] if text is None else text)

    async def _handle(self, frame: str | bytes) -> None:
        outcome = await self._requests.handle(self._caller, frame)
        match outcome:
            case Order():
                await self._store(outcome)
            case Question():
                self._ask(outcome)
            case Resume():
                self._resume(outcome)
            case Following():
                self._follow(outcome)
            case bytes():
                self.put(outcome)

    async def _store(self, order: Order) -> None:
        # Before it is stored, because the answer may be faster than the acknowledgement.
        self.answers.expect(order.request)
        refusal = await self._requests.store(order)
        if refusal is not None:
            self.answers.expect_nothing(order.request.request_id)
            self.put(refusal)

    def _ask(self, question: Question) -> None:
        async def answer() -> None:
            self.put(await self._requests.ask(question))

        # A task, so that a slow answer does not hold up the frames behind it.
        self._start(self.questions, answer, question.request.frame_id)

    def _resume(self, resume: Resume) -> None:
        async def carry_out() -> None:
            try:
                await self.answers.resume(resume, self._requests.ask)
            except RequestError as error:
                self.put(error_frame(error, frame_id=resume.question.request.frame_id))

        self._start(self.questions, carry_out, resume.question.request.frame_id)

    def _follow(self, following: Following) -> None:
        async def carry_out() -> None:
            try:
                # The lock is fair: wishes are carried out in the client's order.
                async with self._following:
                    await self.subscriptions.carry_out(following)
            except RequestError as error:
                self.put(error_frame(error, frame_id=following.frame_id))

        self._start(self.wishes, carry_out, following.frame_id)

    def _start(self, pending: Pending, work: Callable[[], Awaitable[None]], frame_id: FrameId | None) -> None:
        try:
            pending.start(work, name=f"pending {self.id}")
        except RequestError as error:
            self.put(error_frame(error, frame_id=frame_id))

    async def _send(self) -> None:
        while True:
            frame = await self.queue.get()
            try:
                await self._websocket.send({"type": "websocket.send", "text": frame.decode()})
            except (WebSocketDisconnect, RuntimeError):
                # Starlette's two ways to say that the client has left; `_receive` ends too.
                return
            self.queue.sent()

    async def _say_goodbye(self, code: CloseCode, receiving: asyncio.Task[None], sending: asyncio.Task[None]) -> None:
        metrics.CLOSED.labels(code.name.lower()).inc()
        log.info("closing a connection", connection=self.id, code=int(code))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                async with self._handling:
                    # Between two frames: what has been read of the client's is carried out to its end.
                    await cancel(receiving)
                if code is CloseCode.DRAINING:
                    await self.questions.ended()
                    await self.wishes.ended()
                    await self.queue.emptied()
        # Who has waited in vain for an answer is told goodbye all the same.
        await cancel(receiving, sending)
        if code is CloseCode.TOO_SLOW:
            await self._let_go()
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(TOO_SLOW_SECONDS if code is CloseCode.TOO_SLOW else CLOSE_SECONDS):
                if self._websocket.application_state is WebSocketState.CONNECTED:
                    await self._websocket.close(code)

    async def _let_go(self) -> None:
        """Nothing more is done for this client, and nothing waits for it."""
        await self.questions.cancel()
        await self.wishes.cancel()
        self.subscriptions.leave_all()
        self.answers.leave()
        self.queue.clear()

    def _ready(self) -> SessionReady:
        return SessionReady(
            connection_id=self.id,
            user=self._caller.user,
            limits=self._limits,
            heartbeat_seconds=WEBSOCKET_PING_SECONDS,
            version=protocol.VERSION,
        )
