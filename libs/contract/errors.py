"""The closed list of errors, the same on the WebSocket, over HTTP and on the bus.

Domain code raises `RequestError` with one of these codes. Only the edge turns a code into an HTTP status or
an error frame, so a worker never knows how its caller is connected.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request failed. Adding one means adding it to `RETRYABLE` or not, and to the edge's maps."""

    INVALID_FRAME = "invalid_frame"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_UNAVAILABLE = "model_unavailable"
    MODEL_ERROR = "model_error"
    CONTEXT_OVERFLOW = "context_overflow"
    BUS_UNAVAILABLE = "bus_unavailable"
    SERVICE_UNAVAILABLE = "service_unavailable"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether the very same request may succeed later without anybody changing it."""
        return self in RETRYABLE


RETRYABLE = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.BUSY,
        ErrorCode.MODEL_UNAVAILABLE,
        ErrorCode.BUS_UNAVAILABLE,
        ErrorCode.SERVICE_UNAVAILABLE,
        ErrorCode.INTERNAL,
    }
)


class RequestError(Exception):
    """A request that cannot be served, with a sentence that tells a person what to do about it."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
