"""The bytes of a response, made by hand: nothing between a script and the socket tidies them up."""

import json
from http import HTTPStatus

DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"


def head(status: int = 200, content_type: str = "text/event-stream", **headers: str) -> bytes:
    """Status line and headers of a response with a chunked body."""
    return _head(status, content_type, {"transfer-encoding": "chunked", **headers})


def bare_head(status: int = 200, content_type: str = "text/event-stream", **headers: str) -> bytes:
    """Status line and headers of a response whose body ends when the connection does."""
    return _head(status, content_type, {"connection": "close", **headers})


def body(status: int, content: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """A whole response."""
    return _head(status, content_type, {"content-length": str(len(content)), **headers}) + content


def json_body(status: int, value: object, **headers: str) -> bytes:
    return body(status, json.dumps(value, ensure_ascii=False).encode(), **headers)


def chunk(data: bytes) -> bytes:
    """Some bytes of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value: object) -> bytes:
    """One server-sent event with JSON data."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _head(status: int, content_type: str, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"content-type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
