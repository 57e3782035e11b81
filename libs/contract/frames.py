"""The WebSocket frames: `{"type": ..., "id": ..., "data": {...}}`, JSON text, camelCase fields.

`id` is the client's own optional word for a request; every direct answer to that request carries it back.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from libs.contract.errors import ErrorCode, RequestError
from libs.contract.ids import RequestId

FrameId = Annotated[str, Meta(max_length=128)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

NO_DATA = Raw(b"{}")


class ClientFrame(Struct, frozen=True):
    """What a client sends, before its `data` is read."""

    type: Annotated[str, Meta(max_length=64)]
    id: FrameId | None = None
    data: Raw = NO_DATA


class Nothing(Struct, frozen=True):
    """The data of a request that needs none."""


class Limits(Struct, frozen=True, rename="camel"):
    """What a client may do; told on connect."""

    max_frame_bytes: int
    requests_per_minute: int
    burst: int
    subscriptions: int


class SessionReady(Struct, frozen=True, rename="camel"):
    """`session:ready`, the first frame on every connection."""

    connection_id: str
    user: str
    limits: Limits
    heartbeat_seconds: float
    version: int


class SessionDraining(Struct, frozen=True, rename="camel"):
    """`session:draining`: this gateway goes away; connect again (anywhere) within the window."""

    reconnect_within_ms: int


class ErrorData(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`error`: what went wrong and what to do. Never a stack trace."""

    code: ErrorCode
    message: str
    retryable: bool
    retry_after_ms: int | None = None
    request_id: str | None = None


class ClientRequest(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A client's request on its way over the bus: what the gateway knows of it, and its data as the client sent it.

    `reply` is the subject of the asking connection. `data` has passed the gateway's schema check.
    """

    request_id: RequestId
    user: str
    reply: str
    type: str
    frame_id: FrameId | None = None
    data: Raw = NO_DATA


class _Frame(Struct, frozen=True):
    # `type` stays first: the gateway reads it from the leading bytes of a finished frame (`frame_type`).
    type: str
    id: str | int | UnsetType = UNSET
    data: Any = UNSET


class _ErrorFrame(Struct, frozen=True):
    data: ErrorData


class _AnswerFrame(Struct, frozen=True):
    data: Raw = NO_DATA


_encoder = msgspec.json.Encoder()
_errors = msgspec.json.Decoder(_ErrorFrame)
_answers = msgspec.json.Decoder(_AnswerFrame)
_TYPE_STARTS = len(b'{"type":"')


def encode(frame_type: str, data: object = UNSET, *, frame_id: FrameId | None = None) -> bytes:
    """A finished client frame.

    >>> encode("pong", frame_id="7")
    b'{"type":"pong","id":"7"}'
    """
    return _encoder.encode(_Frame(frame_type, UNSET if frame_id is None else frame_id, data))


def encode_error(error: RequestError, *, frame_id: FrameId | None = None, request_id: str | None = None) -> bytes:
    """The finished `error` frame for a request that failed."""
    data = ErrorData(
        code=error.code,
        message=error.message,
        retryable=error.code.retryable,
        retry_after_ms=error.retry_after_ms,
        request_id=request_id,
    )
    return encode("error", data, frame_id=frame_id)


def checked(frame: bytes) -> bytes:
    """The same finished frame. Raises the `RequestError` that it tells of, if it is an `error` frame."""
    if frame_type(frame) != "error":
        return frame
    error = _errors.decode(frame).data
    raise RequestError(error.code, error.message, retry_after_ms=error.retry_after_ms)


def data_of(frame: bytes) -> bytes:
    """The data of a finished frame, as it stands there."""
    return bytes(_answers.decode(frame).data)


def frame_type(frame: bytes) -> str:
    """The type of a finished frame, read from its first bytes: no decoding on the hot path."""
    return frame[_TYPE_STARTS : frame.index(b'"', _TYPE_STARTS)].decode()
