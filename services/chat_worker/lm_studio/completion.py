"""Reads one streamed chat completion: bytes in, pieces of text out, and at the end what the server said about it.

    socket ── bytes ──▶ EventParser ── events ──▶ chunks ──▶ ThinkingSplitter ──▶ Piece(text, reasoning)

Pure: no socket, no clock. It takes the dialects of LM Studio, llama.cpp, Ollama and vLLM; where they differ is said
at the field.
"""

import json
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from libs.contract.chat import Usage
from libs.contract.errors import RequestError
from services.chat_worker.lm_studio import model_errors
from services.chat_worker.lm_studio.sse import Event, EventParser
from services.chat_worker.lm_studio.thinking import ThinkingSplitter

# An answer is complete only when the server gives one of these (the OpenAI API's list). vLLM says "abort" when its
# engine gives up; streams also end with no reason at all. Neither is a success, whether or not `[DONE]` follows:
# proxies add that themselves.
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

_DONE = b"[DONE]"


class Piece(NamedTuple):
    """The next part of an answer: everything that arrived in one read from the network."""

    text: str
    reasoning: str


class _Said(Struct, frozen=True, gc=False):
    """`delta` of a chunk, or `message` of a whole completion."""

    content: str | None = None
    reasoning_content: str | None = None  # LM Studio (when set so), llama.cpp, older vLLM
    reasoning: str | None = None  # LM Studio for gpt-oss since 0.3.23, Ollama, newer vLLM


class _Choice(Struct, frozen=True, gc=False):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Counted(Struct, frozen=True, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(Struct, frozen=True, gc=False):
    choices: list[_Choice] | None = None
    usage: _Counted | None = None  # in a last chunk without choices, in the finishing chunk, or in every one
    model: str | None = None
    object: str | None = None  # vLLM's complaints are an "error"
    error: Any = None
    detail: Any = None

    def complains(self) -> bool:
        return self.error is not None or self.detail is not None or self.object == "error"


_decoder = msgspec.json.Decoder(_Chunk)


class CompletionReader:
    """Reads one completion. `failure` and `finish_reason` may be set after any `feed`; `done`: no need to read on."""

    def __init__(self) -> None:
        self._events = EventParser()
        self._thinking = ThinkingSplitter()
        self.events = 0
        self.spoke = False
        self.ended = False
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.failure: RequestError | None = None

    @property
    def done(self) -> bool:
        return self.ended or self.failure is not None

    def feed(self, data: bytes) -> Piece | None:
        """All the text in these bytes as one piece; None when there is none.

        What the server complains about is kept in `failure`, so that the text before it is not lost.
        """
        try:
            events = self._events.feed(data)
        except RequestError as error:
            self.failure = error
            return None
        return self._read(events)

    def finish(self) -> Piece | None:
        """Call once, when nothing more comes: the text that was held back as a possible tag, and a last event whose
        closing empty line is missing. Half an event (the connection was cut) says nothing and is dropped."""
        piece = None
        if not self.done:
            events = self._events.finish()
            if events and (events[0].name == "error" or _decoded(events[0]) is not None):
                piece = self._read(events)
        text, reasoning = self._thinking.finish()
        if piece is not None:
            text, reasoning = piece.text + text, piece.reasoning + reasoning
        return self._piece(text, reasoning)

    def read_body(self, status: int, body: bytes, retry_after: str | None = None) -> Piece | None:
        """A whole body where a stream was asked for: a server that does not stream, or its complaint."""
        chunk = _decoded(Event(body))
        if status == HTTPStatus.OK and chunk is not None and chunk.choices and not chunk.complains():
            return self._read([Event(body)])
        self.failure = model_errors.refused(status, body, retry_after=retry_after)
        return None

    def _read(self, events: list[Event]) -> Piece | None:
        text = reasoning = ""
        self.events += len(events)
        for event in events:
            if event.data == _DONE:
                self.ended = True
                break
            chunk = _decoded(event)
            if chunk is None or chunk.complains() or event.name == "error":
                self.failure = _failure(event)
                break
            said = self._take(chunk)
            if said is not None:
                text += said.content or ""
                reasoning += said.reasoning_content or said.reasoning or ""
        if text:
            text, thought = self._thinking.feed(text)
            reasoning += thought
        return self._piece(text, reasoning)

    def _take(self, chunk: _Chunk) -> _Said | None:
        """Keeps what the chunk says about the answer → what it adds to it."""
        if chunk.model is not None:
            self.model = chunk.model
        if chunk.usage is not None:
            self.usage = Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
        if not chunk.choices:
            return None
        choice = chunk.choices[0]  # we never ask for more than one
        if choice.finish_reason in FINISH_REASONS:
            self.finish_reason = choice.finish_reason
        return choice.delta or choice.message

    def _piece(self, text: str, reasoning: str) -> Piece | None:
        if not text and not reasoning:
            return None
        self.spoke = True
        return Piece(text, reasoning)


def _decoded(event: Event) -> _Chunk | None:
    """The chunk in an event; None when it is none."""
    try:
        return _decoder.decode(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return _decoder.decode(_mended(event.text))
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None


def _mended(text: str) -> str:
    """JSON that Python reads and msgspec rightly does not: half of a surrogate pair (a server cut an emoji in two)
    becomes U+FFFD, a raw line break in a string is kept."""
    loose = json.dumps(json.loads(text, strict=False), ensure_ascii=False)
    return loose.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _failure(event: Event) -> RequestError:
    """A complaint in any form, or something that is no chunk at all."""
    try:
        value: object = msgspec.json.decode(event.text)
    except (ValueError, RecursionError):
        return model_errors.complained(event.text) if event.name == "error" else model_errors.unreadable(event.text)
    return model_errors.complained(value)
