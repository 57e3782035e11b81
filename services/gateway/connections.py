"""The open connections: one WebSocket each, all fed by one bus subscription.

client ══ text ══▶ Connection._receive ─▶ Requests ─▶ bus
client ◀═ text ══ Connection._send ◀─ SendQueue ◀┬─ Answers ◀─ Connections.deliver ◀─ reply.<gateway>.<connection>
                                                 └─ Subscriptions ◀─ topics
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from libs.contract import frames, protocol, subjects
from libs.contract.close_codes import CloseCode
from libs.contract.errors import RequestError
from libs.contract.frames import FrameId, Limits, SessionDraining, SessionReady
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
CLOSE_SECONDS = 2.0

_ERROR = b'{"type":"error"'


class Connections:
    """Every connection of this gateway, by id."""

    def __init__(
        self,
        gateway_id: str,
        requests: Requests,
        topics: Topics,
        repairs: Repairs,
        *,
        limits: Limits,
        send_queue_bytes: int,
    ) -> None:
        self.gateway_id = gateway_id
        self.requests = requests
        self.topics = topics
        self.repairs = repairs
        self.limits = limits
        self.send_queue_bytes = send_queue_bytes
        self._open: dict[str, Connection] = {}
        self._draining = False

    async def serve(self, websocket: WebSocket) -> None:
        """One client, from its connect to its end."""
        if self._draining:
            await websocket.close(CloseCode.DRAINING)  # Before accept: answered with HTTP 403.
            return
        connection = Connection(websocket, self)
        self._open[connection.id] = connection
        try:
            await connection.run()
        finally:
            del self._open[connection.id]

    def deliver(self, subject: str, message: bytes) -> None:
        """Hands finished frames from the bus to the connection that the subject names."""
        connection = self._open.get(subjects.last_token(subject))
        if connection is None:
            metrics.REPLIES_DROPPED.inc()
        else:
            connection.take(message)

    def count(self) -> int:
        return len(self._open)

    def waiting_bytes(self) -> int:
        return sum(connection.queue.waiting_bytes for connection in self._open.values())

    def pending(self) -> int:
        return sum(len(connection.questions) + len(connection.wishes) for connection in self._open.values())

    def subscriptions(self) -> int:
        return sum(connection.subscriptions.count() for connection in self._open.values())

    def watched(self) -> int:
        return sum(connection.answers.count() for connection in self._open.values())

    async def drain(self, seconds: float) -> None:
        """Sends every client away, spread over `seconds`, so that they do not all reconnect at the same moment."""
        self._draining = True
        leaving = list(self._open.values())
        told = frames.encode("session:draining", SessionDraining(reconnect_within_ms=int(seconds * 1000)))
        for connection in leaving:
            connection.put(told)

        async def send_away(connection: "Connection") -> None:
            await asyncio.sleep(random.uniform(0, seconds))  # noqa: S311 (spreads load, guards nothing)
            connection.close(CloseCode.DRAINING)
            await connection.ended.wait()

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + CLOSE_SECONDS + 1):
                await asyncio.gather(*(send_away(connection) for connection in leaving))


class Connection:
    """One client's socket: a loop that reads, a loop that writes, and the questions under way."""

    def __init__(self, websocket: WebSocket, connections: Connections) -> None:
        self.id = new_id()
        self.queue = SendQueue(connections.send_queue_bytes, write=writer_of(websocket))
        self.questions = Pending(MAX_QUESTIONS)
        self.wishes = Pending(MAX_WISHES)
        self.ended = asyncio.Event()
        self._following = asyncio.Lock()
        self._websocket = websocket
        self._requests = connections.requests
        self._limits = connections.limits
        self._closing: asyncio.Future[CloseCode] = asyncio.get_running_loop().create_future()
        self._caller = Caller(
            connection_id=self.id, user=LOCAL_USER, reply=subjects.reply(connections.gateway_id, self.id)
        )
        self.answers = Answers(self._caller, connections.repairs, self.put)
        self.subscriptions = Subscriptions(
            connections.topics, self._caller.user, self.put, limit=connections.limits.subscriptions
        )

    async def run(self) -> None:
        """Serves the client until it leaves, reads too slowly, or is sent away."""
        await self._websocket.accept()
        self.put(frames.encode("session:ready", self._ready()))
        receiving = asyncio.create_task(self._receive(), name=f"receive {self.id}")
        sending = asyncio.create_task(self._send(), name=f"send {self.id}")
        try:
            await asyncio.wait((receiving, sending, self._closing), return_when=asyncio.FIRST_COMPLETED)
            if self._closing.done():
                await self._say_goodbye(self._closing.result(), sending)
        finally:
            await cancel(receiving, sending)
            await self.questions.cancel()
            await self.wishes.cancel()
            self.subscriptions.leave_all()
            self.answers.leave()
            self.ended.set()
        for loop in (receiving, sending):
            if not loop.cancelled() and (error := loop.exception()) is not None:
                raise error

    def take(self, message: bytes) -> None:
        """Finished frames from the bus. What follows a piece in one message belongs to it, and shares its fate."""
        wanted = True
        for frame in frames.separated(message):
            place = place_of(frame)
            if place is not None:
                wanted = self.answers.take(place, frame)
            elif frame.startswith(_ERROR) and (request_id := request_id_of(frame)) is not None:
                self.answers.expect_nothing(request_id)
            if wanted:
                self.put(frame, place=place)

    def put(self, frame: bytes, *, newest_of: str | None = None, place: Place | None = None) -> None:
        """Queues a finished frame; a client that leaves too much unread is sent away."""
        metrics.FRAMES_OUT[frames.frame_type(frame)] += 1
        self.queue.put(frame, newest_of=newest_of, place=place)
        if self.queue.overflowed.is_set():
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
            outcome = await self._requests.handle(self._caller, message["bytes"] if text is None else text)
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

    async def _say_goodbye(self, code: CloseCode, sending: asyncio.Task[None]) -> None:
        metrics.CLOSED.labels(code.name.lower()).inc()
        log.info("closing a connection", connection=self.id, code=int(code))
        with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError):
            async with asyncio.timeout(CLOSE_SECONDS):
                # What a draining client was told just before must still reach it; a slow one is beyond that.
                if code is CloseCode.DRAINING:
                    await self.queue.emptied()
                await cancel(sending)
                if self._websocket.application_state is WebSocketState.CONNECTED:
                    await self._websocket.close(code)

    def _ready(self) -> SessionReady:
        return SessionReady(
            connection_id=self.id,
            user=self._caller.user,
            limits=self._limits,
            heartbeat_seconds=WEBSOCKET_PING_SECONDS,
            version=protocol.VERSION,
        )
