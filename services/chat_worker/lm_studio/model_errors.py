"""What a model server's complaint means: every shape seen in the wild → one of our error codes and a useful sentence.

LM Studio, llama.cpp, vLLM and Ollama all speak "OpenAI", and each complains in its own way: an object, a bare string
or a list, under `error`, `detail` or `message`, with status 200 as well as 4xx. What code the server gives decides
first, then its words, then the HTTP status. Sources: LM Studio's documentation and bug tracker, the servers' own code.
"""

import re
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from libs.contract.errors import ErrorCode, RequestError

QUOTE_CHARACTERS = 300

_START_IT = "Start the model server (in LM Studio: Developer → Start server) or set LM_STUDIO_URL to where it listens."

_SENTENCES = {
    "auth": (
        ErrorCode.MODEL_ERROR,
        "The model server refuses our API key; set LM_STUDIO_API_KEY to one that it accepts.",
    ),
    "endpoint": (
        ErrorCode.MODEL_ERROR,
        "What answers at LM_STUDIO_URL is not an OpenAI-compatible server; it should look like http://localhost:1234/v1.",
    ),
    "not_found": (
        ErrorCode.MODEL_NOT_FOUND,
        "The model server does not have this model; choose one that it lists.",
    ),
    "not_loaded": (
        ErrorCode.MODEL_UNAVAILABLE,
        "No model is loaded; load one in the model server and ask again.",
    ),
    "loading": (
        ErrorCode.MODEL_UNAVAILABLE,
        "The model server is still loading the model; ask again in a moment.",
    ),
    "busy": (
        ErrorCode.MODEL_UNAVAILABLE,
        "The model server has too much to do; ask again in a moment.",
    ),
    "crash": (
        ErrorCode.MODEL_UNAVAILABLE,
        "The model stopped running in the model server; load it again and repeat the question.",
    ),
    "overflow": (
        ErrorCode.CONTEXT_OVERFLOW,
        "The conversation does not fit into the loaded context; start a new one or load the model with a longer one.",
    ),
    "template": (
        ErrorCode.MODEL_ERROR,
        "The model's prompt template cannot take this conversation; start a new one or choose another model.",
    ),
    "down": (
        ErrorCode.MODEL_UNAVAILABLE,
        "The model server failed; ask again, and look at its log if it happens again.",
    ),
    "other": (
        ErrorCode.MODEL_ERROR,
        "The model server could not answer this.",
    ),
}

# `code` or `type` as servers give it, in lower case.
_CODES = {
    "model_not_found": "not_found",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "permission_error": "auth",
    "exceed_context_size_error": "overflow",
    "context_length_exceeded": "overflow",
    "unavailable_error": "loading",
    "rate_limit_exceeded": "busy",
}

# In this order: an overflow during generation also names the model, a crash may quote a template.
_WORDS = (
    (r"unexpected endpoint|cannot (post|get) /", "endpoint"),
    (r"context.{0,20}(length|size|window|overflow)|n_ctx|n_keep|maximum context|exceed_context", "overflow"),
    (r"no models? (is |are )?(currently )?loaded|no models? available", "not_loaded"),
    (r"invalid model identifier|models?\b.{0,220}\b(not found|does not exist|not exist)", "not_found"),
    (r"crash|channel error|unloaded|exit code", "crash"),
    (r"loading model|model is loading|still loading", "loading"),
    (r"jinja|chat template|prompt template|roles must alternate", "template"),
    (r"api (key|token)|unauthori[sz]ed", "auth"),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), kind) for pattern, kind in _WORDS)

_STACK_TRACE = re.compile(r"Traceback \(most recent|\n\s+at |\n\s+File \"")


class _Complaint(NamedTuple):
    codes: tuple[str, ...]
    words: str


def refused(status: int, body: bytes, *, retry_after: str | None = None) -> RequestError:
    """An answer that is no answer: an HTTP error, or a body where a token stream should be (also with status 200).

    `retry_after` is the header of that name; only its form in seconds is understood.
    """
    try:
        complaint = _read(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        complaint = _Complaint((), text)
    kind = _kind(complaint) or _kind_of_status(status, complaint.words)
    wait_ms = int(retry_after) * 1000 if retry_after and re.fullmatch(r"[0-9]{1,4}", retry_after) else None
    return _error(kind, complaint.words, retry_after_ms=wait_ms)


def complained(value: object) -> RequestError:
    """An error inside a token stream: whatever stood under `error`, or the data of an event named so."""
    complaint = _read(value)
    return _error(_kind(complaint) or "other", complaint.words)


def unreachable(url: str) -> RequestError:
    return RequestError(ErrorCode.MODEL_UNAVAILABLE, f"Nobody answers at {url}. {_START_IT}")


def untrusted(url: str, reason: str) -> RequestError:
    return RequestError(
        ErrorCode.MODEL_UNAVAILABLE,
        f"{url} gives no secure connection ({reason}); its certificate has to be one that this machine trusts.",
    )


def compressed() -> RequestError:
    return RequestError(
        ErrorCode.MODEL_ERROR, "The model server compresses its answer; switch that off where it is, or in its proxy."
    )


def hung_up(url: str) -> RequestError:
    return RequestError(
        ErrorCode.MODEL_UNAVAILABLE, f"The model server at {url} hung up without an answer; ask again in a moment."
    )


def broken_off() -> RequestError:
    return RequestError(
        ErrorCode.MODEL_UNAVAILABLE,
        "The connection to the model server broke in the middle of the answer; ask again for a whole one.",
    )


def too_late(what: str, seconds: float) -> RequestError:
    return RequestError(ErrorCode.MODEL_UNAVAILABLE, f"The model server {what} within {seconds:g} s; ask again later.")


def unreadable(data: str) -> RequestError:
    sentence = "The model server sent something that is not a chat completion."
    return RequestError(ErrorCode.MODEL_ERROR, sentence + _quoted(data))


def overflowed() -> RequestError:
    return _error("overflow", "")


def said_nothing() -> RequestError:
    return RequestError(
        ErrorCode.MODEL_ERROR, "The model gave an empty answer; ask differently or choose another model."
    )


def _read(value: object) -> _Complaint:
    """Finds the words, and every code on the way to them, in a complaint of any shape."""
    codes: list[str] = []
    for _ in range(4):
        if isinstance(value, list):
            value = value[0] if value else ""
        elif isinstance(value, dict):
            codes += [word.lower() for key in ("code", "type") if isinstance(word := value.get(key), str)]
            value = next((value[key] for key in ("error", "detail", "message", "msg") if value.get(key)), "")
        else:
            break
    return _Complaint(tuple(codes), value if isinstance(value, str) else "")


def _kind(complaint: _Complaint) -> str | None:
    for code in complaint.codes:
        if code in _CODES:
            return _CODES[code]
    return next((kind for pattern, kind in _PATTERNS if pattern.search(complaint.words)), None)


def _kind_of_status(status: int, words: str) -> str:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return "auth"
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) or HTTPStatus.MULTIPLE_CHOICES <= status < 400:
        return "endpoint"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "busy"
    if status == HTTPStatus.OK and (not words or words.startswith("<")):
        return "endpoint"
    return "down" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "other"


def _error(kind: str, words: str, *, retry_after_ms: int | None = None) -> RequestError:
    code, sentence = _SENTENCES[kind]
    # Servers quote the key they were given; a key belongs in no message.
    quote = "" if kind == "auth" else _quoted(words)
    return RequestError(code, sentence + quote, retry_after_ms=retry_after_ms)


def _quoted(words: str) -> str:
    """The server's own words, on one line, cut short, without markup and stack traces."""
    words = " ".join(_STACK_TRACE.split(words, maxsplit=1)[0].split())
    if not words or words.startswith("<"):
        return ""
    if len(words) > QUOTE_CHARACTERS:
        words = words[: QUOTE_CHARACTERS - 1] + "…"
    return f" It says: “{words}”"
