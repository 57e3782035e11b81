"""What happens to one frame of a client: checked, counted, put on the bus; or answered with an error frame.

bytes ─▶ ClientFrame ─▶ route ─▶ data checked ─▶ rate limit ─┬─▶ Stored: stream, answers come by themselves
                                                            ├─▶ Asked: request, its answer is forwarded
                                                            ├─▶ Continued: the same, for the connection's answers
                                                            └─▶ Followed: for the connection's subscriptions
"""

import itertools
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from libs.bus.connection import Bus
from libs.bus.work_queue import store
from libs.contract import frames
from libs.contract.chat import ChatResume
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import NO_DATA, ClientFrame, ClientRequest, FrameId
from libs.contract.ids import new_id
from libs.contract.streams import WorkStream
from services.gateway import metrics
from services.gateway.rate_limits import RateLimits
from services.gateway.routes import ROUTES, Asked, Continued, Followed, Stored
from services.gateway.subscriptions import Following

log = structlog.get_logger(__name__)

D = TypeVar("D")

# Longer than the slowest honest answer: listing models asks a model server three times with 2 s each.
ANSWER_SECONDS = 10.0

_frame_decoder = msgspec.json.Decoder(ClientFrame)


@dataclass(frozen=True)
class Caller:
    """Who asks, and where the answers go."""

    connection_id: str
    user: str
    reply: str


@dataclass(frozen=True)
class Question:
    """A checked request to a service that answers at once; `Requests.ask` waits for the answer."""

    subject: str
    request: ClientRequest


@dataclass(frozen=True)
class Order:
    """A checked request that `Requests.store` puts into a stream."""

    stream: WorkStream
    subject: str
    request: ClientRequest


@dataclass(frozen=True)
class Resume:
    """A checked `chat:resume`."""

    asked: ChatResume
    question: Question


Outcome = bytes | Order | Question | Resume | Following


class Requests:
    """Turns frames into bus messages. One for the whole gateway; keeps nothing about clients."""

    def __init__(self, bus: Bus, limits: RateLimits, *, max_frame_bytes: int) -> None:
        self._bus = bus
        self._limits = limits
        self._max_frame_bytes = max_frame_bytes
        self._sent = itertools.count()

    async def handle(self, caller: Caller, text: str | bytes) -> Outcome:
        """An answer to send now, or what there is to do: to `store` an order, to `ask` a question, to follow."""
        frame_id: FrameId | None = None
        request_id: str | None = None
        try:
            frame = self._read(text)
            frame_id = frame.id
            if frame.type == "ping":
                metrics.FRAMES_IN.labels("ping").inc()
                return frames.encode("pong", frame_id=frame_id)
            route = ROUTES.get(frame.type)
            if route is None:
                metrics.FRAMES_IN.labels("unknown").inc()
                raise RequestError(ErrorCode.UNKNOWN_TYPE, f"This server knows no {frame.type!r}.")
            metrics.FRAMES_IN.labels(frame.type).inc()
            match route:
                case Stored():
                    send = _checked(frame, route.decoder)
                    request_id = send.request_id or new_id()
                    await self._limits.spend(caller.user)
                    return Order(route.stream, route.subject(send), _request(caller, frame, request_id))
                case Asked():
                    # Under the client's own request id where it names one, so that a grep finds the cancel too.
                    request_id = getattr(_checked(frame, route.decoder), "request_id", None) or new_id()
                    await self._limits.spend(caller.user)
                    return Question(route.subject, _request(caller, frame, request_id))
                case Continued():
                    asked = _checked(frame, route.decoder)
                    request_id = asked.request_id or new_id()
                    await self._limits.spend(caller.user)
                    return Resume(asked, Question(route.subject, _request(caller, frame, request_id)))
                case Followed():
                    wish = _checked(frame, route.decoder)
                    # Not counted: a page that comes back follows all it shows at once. The wishes of a connection are
                    # bounded, and carried out one after the other.
                    return Following(wish, frame_id)
        except RequestError as error:
            return error_frame(error, frame_id=frame_id, request_id=request_id)

    async def store(self, order: Order) -> bytes | None:
        """Returns when the order is accepted, and otherwise an error frame: then it may or may not be."""
        # The id is one of this frame, not of the client's request: it makes the gateway's own retries harmless. A
        # client that repeats its request (same requestId, any connection) must reach a worker, which finds the rows
        # and lets it join; the stream would swallow it.
        request = order.request
        dedupe_id = f"{request.reply}.{next(self._sent)}"
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            try:
                await store(self._bus, order.stream, order.subject, msgspec.json.encode(request), dedupe_id=dedupe_id)
            except RequestError as error:
                return error_frame(error, frame_id=request.frame_id, request_id=request.request_id)
            log.info("request stored", type=request.type, stream=order.stream.name)
        return None

    async def ask(self, question: Question) -> bytes:
        """The answer to a question: the service's finished frame, or an error frame."""
        request = question.request
        try:
            return await self._bus.request(question.subject, msgspec.json.encode(request), timeout=ANSWER_SECONDS)
        except RequestError as error:
            return error_frame(error, frame_id=request.frame_id, request_id=request.request_id)

    def _read(self, text: str | bytes) -> ClientFrame:
        if isinstance(text, bytes):
            metrics.FRAMES_IN.labels("invalid").inc()
            raise RequestError(ErrorCode.INVALID_FRAME, "Binary frames are not understood. Send JSON as text.")
        try:
            payload = text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(ErrorCode.INVALID_FRAME, "The frame is not valid Unicode.") from error
        if len(payload) > self._max_frame_bytes:
            metrics.FRAMES_IN.labels("invalid").inc()
            raise RequestError(
                ErrorCode.TOO_LARGE,
                f"The frame has {len(payload)} bytes; this server takes {self._max_frame_bytes} at most.",
            )
        try:
            return _frame_decoder.decode(payload)
        except RecursionError as error:
            metrics.FRAMES_IN.labels("invalid").inc()
            raise RequestError(ErrorCode.INVALID_FRAME, "The frame is nested too deeply.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            metrics.FRAMES_IN.labels("invalid").inc()
            raise RequestError(
                ErrorCode.INVALID_FRAME, f'A frame is a JSON object {{"type": …, "id": …, "data": {{…}}}}: {error}.'
            ) from error


def error_frame(error: RequestError, *, frame_id: FrameId | None = None, request_id: str | None = None) -> bytes:
    metrics.ERRORS_OUT.labels(error.code).inc()
    return frames.encode_error(error, frame_id=frame_id, request_id=request_id)


def _checked(frame: ClientFrame, decoder: msgspec.json.Decoder[D]) -> D:
    data = NO_DATA if frame.data == b"null" else frame.data
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise RequestError(ErrorCode.INVALID_FRAME, f"{frame.type}: the data is nested too deeply.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(ErrorCode.INVALID_FRAME, f"{frame.type}: {error}.") from error


def _request(caller: Caller, frame: ClientFrame, request_id: str) -> ClientRequest:
    return ClientRequest(
        request_id=request_id,
        user=caller.user,
        reply=caller.reply,
        type=frame.type,
        frame_id=frame.id,
        data=NO_DATA if frame.data == b"null" else frame.data,
    )
