"""One client's WebSocket: what it sends becomes requests, what is for it waits in its queue.

client ══ text ══▶ Socket ─▶ Connection.hear ─▶ Requests ─▶ bus
client ◀═ text ══ Socket ◀─ SendQueue ◀┬─ Answers ◀─ Connection.take ◀─ Connections.deliver
                                       └─ Subscriptions ◀─ topics

An idle connection has no task: one is made for the frames in hand, for a question, for its end (ADR 15).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from libs.contract import frames, protocol, subjects
from libs.contract.close_codes import CloseCode
from libs.contract.errors import RequestError
from libs.contract.frames import FrameId, Limits, SessionReady
from libs.contract.ids import LOCAL_USER, new_id
from services.gateway import metrics
from services.gateway.answers import Answers
from services.gateway.heartbeats import HEARTBEAT_SECONDS
from services.gateway.pending import Pending, cancel
from services.gateway.places import Place, place_of, request_id_of
from services.gateway.repairs import Repairs
from services.gateway.requests import Caller, Order, Question, Requests, Resume, error_frame
from services.gateway.send_queue import SendQueue
from services.gateway.sockets import Socket
from services.gateway.subscriptions import Following, Subscriptions
from services.gateway.topics import Topics

log = structlog.get_logger(__name__)

# Questions of one client that may be under way at once.
MAX_QUESTIONS = 16
# A page that comes back follows all it shows at once.
MAX_WISHES = 256
# Most frames need no waiting: after so many of one client the others have their turn.
FRAMES_A_TURN = 16
# What a connection that is sent away may still take: to be answered what it asked, and to be told goodbye.
CLOSE_SECONDS = 2.0


class Gateway(NamedTuple):
    """What all connections of one gateway have in common."""

    id: str
    requests: Requests
    topics: Topics
    repairs: Repairs
    limits: Limits
    send_queue_bytes: int


class Connection:
    """One client's socket: what it is told, the frame in hand, and the questions under way."""

    __slots__ = (
        "_caller",
        "_ended",
        "_ending",
        "_following",
        "_handling",
        "_heard",
        "_limits",
        "_requests",
        "_socket",
        "answers",
        "id",
        "questions",
        "queue",
        "subscriptions",
        "wishes",
    )

    def __init__(self, socket: Socket, gateway: Gateway, *, ended: Callable[[str], object]) -> None:
        """`ended` is given its id when nothing more is done for it."""
        self.id = new_id()
        self.queue = SendQueue(gateway.send_queue_bytes, write=socket.write)
        self.questions = Pending(MAX_QUESTIONS)
        self.wishes = Pending(MAX_WISHES)
        self._following = asyncio.Lock()
        # The client's frames that wait for the one in hand: those of one read, since while any waits no more are read.
        # One read may be tens of thousands. None otherwise: a deque is 600 bytes, and there are many who are idle.
        self._heard: deque[str | bytes] | None = None
        self._handling: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._ended = ended
        self._socket = socket
        self._requests = gateway.requests
        self._limits = gateway.limits
        self._caller = Caller(connection_id=self.id, user=LOCAL_USER, reply=subjects.reply(gateway.id, self.id))
        self.answers = Answers(self._caller, gateway.repairs, self.put)
        self.subscriptions = Subscriptions(
            gateway.topics, self._caller.user, self.put, limit=gateway.limits.subscriptions
        )
        # Nothing comes before it, not even `session:draining`.
        self.put(frames.encode("session:ready", self._ready()))

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
        """Sends the client away."""
        if self._ending is None:
            # Between two frames: the one in hand is carried out to its end.
            self._heard = None
            self._ending = asyncio.create_task(self._say_goodbye(code), name=f"goodbye {self.id}")

    def leave(self) -> None:
        """The client has left: what it has sent before is carried out to its end."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._follow_out(), name=f"leave {self.id}")

    async def ended(self) -> None:
        """Waits for the end of a connection that was told to `close`."""
        if self._ending is not None:
            await asyncio.wait((self._ending,))

    def go_on(self) -> None:
        """The client reads again."""
        self.queue.flush()

    def hear(self, frame: str | bytes) -> None:
        """One frame of the client. They are handled one after the other."""
        if self._ending is not None:
            return
        if self._handling is None:
            self._handling = asyncio.create_task(self._handle_all(frame), name=f"handle {self.id}")
        else:
            if self._heard is None:
                self._heard = deque()
                self._socket.pause()
            self._heard.append(frame)

    async def _handle_all(self, frame: str | bytes) -> None:
        try:
            await self._handle(frame)
            handled = 1
            # None when the client is sent away meanwhile.
            while self._heard:
                await self._handle(self._heard.popleft())
                handled += 1
                if handled % FRAMES_A_TURN == 0:
                    await asyncio.sleep(0)
            self._heard = None
            self._socket.resume()
        except Exception:
            log.exception("a frame could not be handled", connection=self.id)
            self._socket.drop()
        finally:
            self._handling = None

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

    async def _follow_out(self) -> None:
        try:
            if self._handling is not None:
                await asyncio.wait((self._handling,))
        finally:
            await self._let_go()

    async def _say_goodbye(self, code: CloseCode) -> None:
        metrics.CLOSED.labels(code.name.lower()).inc()
        log.info("closing a connection", connection=self.id, code=int(code))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    if self._handling is not None:
                        await asyncio.wait((self._handling,))
                    if code is CloseCode.DRAINING:
                        await self.questions.ended()
                        await self.wishes.ended()
                        await self.queue.emptied()
            # Who has waited in vain for an answer is told goodbye all the same.
            self._socket.close(code)
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        """Nothing more is done for this client, and nothing waits for it."""
        if self._handling is not None:
            await cancel(self._handling)
        await self.questions.cancel()
        await self.wishes.cancel()
        self.subscriptions.leave_all()
        self.answers.leave()
        self.queue.clear()
        self._ended(self.id)

    def _ready(self) -> SessionReady:
        return SessionReady(
            connection_id=self.id,
            user=self._caller.user,
            limits=self._limits,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            version=protocol.VERSION,
        )
