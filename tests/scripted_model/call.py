"""One chat request as a script sees it."""

import asyncio
import time
from typing import Any

from msgspec import Struct

from tests.scripted_model import wire

# Long enough that the network delivers two writes apart, short enough to add up to nothing.
APART_SECONDS = 0.002


class Seen(Struct, rename="camel"):
    """The log entry of one chat request; times are seconds since 1970."""

    number: int
    model: str
    messages: list[dict[str, Any]]
    body: dict[str, Any]
    authorization: str | None
    started: float
    finished: float | None = None
    closed_by_client: bool = False
    tokens_sent: int = 0


class HangUp(Exception):
    """A script raises it to close the connection here."""


class Reset(Exception):
    """A script raises it to reset the connection here (TCP RST)."""


class Call:
    """What was asked, and the usual parts of an answer to it."""

    def __init__(self, seen: Seen, released: asyncio.Event) -> None:
        self.seen = seen
        self.released = released

    @property
    def question(self) -> str:
        """The last user message."""
        return next((m["content"] for m in reversed(self.seen.messages) if m.get("role") == "user"), "")

    def number(self, option: str, otherwise: int) -> int:
        """A number from the request's options."""
        value = self.seen.body.get(option)
        return value if isinstance(value, int) else otherwise

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: object) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._object([choice], more)

    def token(self, text: str) -> bytes:
        """One token as part of a chunked body. The role is repeated on every chunk, as LM Studio does."""
        self.seen.tokens_sent += 1
        return wire.chunk(wire.event(self.chunk({"role": "assistant", "content": text})))

    def part(self, value: object) -> bytes:
        """Any event as part of a chunked body."""
        return wire.chunk(wire.event(value))

    def usage(self, prompt_tokens: int | None = None) -> dict[str, int]:
        prompt = sum(len(str(m.get("content"))) for m in self.seen.messages) // 4 + 1
        prompt = prompt if prompt_tokens is None else prompt_tokens
        said = self.seen.tokens_sent
        return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}

    def end(self, finish_reason: str = "stop") -> bytes:
        """Finish reason, usage if asked for, `[DONE]`: how a stream should end."""
        events = wire.event(self.chunk({}, finish_reason))
        if (self.seen.body.get("stream_options") or {}).get("include_usage"):
            events += wire.event(self._object([], {"usage": self.usage()}))
        return wire.chunk(events + wire.DONE) + wire.LAST_CHUNK

    def _object(self, choices: list[dict[str, Any]], more: dict[str, object]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.seen.number}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": self.seen.model,
            "system_fingerprint": self.seen.model,
            "choices": choices,
            **more,
        }
