"""The closed list of errors, the same on the WebSocket, over HTTP and on the bus.

Domain code raises `RequestError` with one of these codes. Only the edge turns a code into an HTTP status or
an error frame, so a worker never knows how its caller is connected.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request failed. The list is closed."""

    # A new one belongs into `RETRYABLE` or not, into `MEANINGS`, and into the edges' maps.

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


# For clients, as published; total, and a test sees to it.
MEANINGS = {
    ErrorCode.INVALID_FRAME: "Not JSON, not an object, or not what this type of frame holds; the message says where.",
    ErrorCode.UNKNOWN_TYPE: "This server knows no such type of frame.",
    ErrorCode.TOO_LARGE: "The frame, or what it would make, is over the limit that the message names.",
    ErrorCode.UNAUTHENTICATED: "Reserved for accounts.",
    ErrorCode.FORBIDDEN: "Reserved for accounts.",
    ErrorCode.NOT_FOUND: "There is no such thing, or it is not yours.",
    ErrorCode.CONFLICT: "It does not fit what is there now: read it again, then decide.",
    ErrorCode.RATE_LIMITED: "Too many requests; wait `retryAfterMs`.",
    ErrorCode.BUSY: "As much as is allowed is under way or followed already.",
    ErrorCode.MODEL_NOT_FOUND: "The model server has no such model; the message names some that it has.",
    ErrorCode.MODEL_UNAVAILABLE: "The model server does not answer, has nothing loaded, or went silent.",
    ErrorCode.MODEL_ERROR: "The model server refused, or answered nothing.",
    ErrorCode.CONTEXT_OVERFLOW: "The message does not fit into the context of the loaded model.",
    ErrorCode.BUS_UNAVAILABLE: "The bus is away, or went away before it answered: repeat it with the same `requestId`.",
    ErrorCode.SERVICE_UNAVAILABLE: "No service answers, or what it needs is away.",
    ErrorCode.INTERNAL: "A defect here; the log has it under the `requestId`.",
}


class RequestError(Exception):
    """A request that cannot be served, with a sentence that tells a person what to do about it."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
