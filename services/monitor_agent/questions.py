"""Questions that any agent answers for all hosts: `monitoring.v1.query.<name>`, request and reply.

gateway ── ClientRequest ──▶ Questions.answer ─▶ history (Valkey) | last samples (stream MONITORING)
        ◀── finished frame ──
"""

from collections.abc import Awaitable, Callable

import msgspec
import structlog

from libs.bus.connection import Bus
from libs.bus.last_values import LastValue, last_values
from libs.contract import frames, streams, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.contract.monitoring import (
    HISTORY_INTERVAL_SECONDS,
    Hosts,
    HostState,
    MetricsFrame,
    MonitoringHistory,
    MonitoringHistoryData,
    host_status,
)
from services.monitor_agent import metrics
from services.monitor_agent.history import History

log = structlog.get_logger(__name__)

_requests = msgspec.json.Decoder(ClientRequest)
_samples = msgspec.json.Decoder(MetricsFrame)

Answer = Callable[[ClientRequest], Awaitable[bytes]]


class Questions:
    """Answers every question of the table below with a finished frame; errors are frames too."""

    def __init__(self, bus: Bus, history: History) -> None:
        self._bus = bus
        self._history = history
        self._answers: dict[str, Answer] = {"history": self._points, "hosts": self._hosts}

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """The finished frame that answers one `ClientRequest`."""
        request = _requests.decode(payload)
        name = subjects.last_token(subject)
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            try:
                if name not in self._answers:
                    raise RequestError(ErrorCode.UNKNOWN_TYPE, f"This monitor agent knows no {name!r}.")
                frame = await self._answers[name](request)
            except RequestError as error:
                log.info("question refused", name=name, code=error.code)
                return frames.encode_error(error, frame_id=request.frame_id, request_id=request.request_id)
            except Exception:
                log.exception("a question failed", name=name)
                failure = RequestError(ErrorCode.INTERNAL, "Something went wrong here. Try again.")
                return frames.encode_error(failure, frame_id=request.frame_id, request_id=request.request_id)
            metrics.QUESTIONS.labels(name).inc()
            return frame

    async def _points(self, request: ClientRequest) -> bytes:
        asked = msgspec.json.decode(request.data, type=MonitoringHistory)
        host = asked.host or await self._only_host()
        data = MonitoringHistoryData(
            host=host,
            interval_seconds=HISTORY_INTERVAL_SECONDS,
            points=await self._history.points(host, asked.minutes),
        )
        return frames.encode("monitoring:history", data, frame_id=request.frame_id)

    async def _hosts(self, request: ClientRequest) -> bytes:
        found = await last_values(self._bus, streams.MONITORING)
        states = sorted((_state(value) for value in found), key=lambda state: state.host)
        return frames.encode("monitoring:hosts", Hosts(hosts=states), frame_id=request.frame_id)

    async def _only_host(self) -> str:
        found = await last_values(self._bus, streams.MONITORING)
        hosts = sorted(_samples.decode(value.payload).data.host for value in found)
        if len(hosts) != 1:
            known = ", ".join(hosts) or "none yet"
            raise RequestError(ErrorCode.INVALID_FRAME, f"monitoring:history needs a host; known: {known}.")
        return hosts[0]


def _state(value: LastValue) -> HostState:
    promise = _samples.decode(value.payload).data
    return HostState(
        host=promise.host,
        status=host_status(value.age_seconds, promise.interval_seconds),
        last_sample_at=promise.timestamp,
        interval_seconds=promise.interval_seconds,
    )
