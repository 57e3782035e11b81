"""Asks the model server for an answer and hands its text on as it comes.

    answer(prompt, take) ── POST /v1/chat/completions ──▶ LM Studio
           take(Piece) … ◀── server-sent events ────────
                     End ◀──

There is no cancel endpoint anywhere: an answer is stopped by closing its connection, which happens as soon as the
asking task is cancelled or `take` has enough, before the first byte as well as in the middle.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from msgspec import Struct

from libs.contract.chat import ChatOptions, Usage
from libs.contract.errors import RequestError
from services.chat_worker import context
from services.chat_worker.lm_studio import model_errors
from services.chat_worker.lm_studio.completion import CompletionReader, Piece
from services.chat_worker.lm_studio.exchange import Deadlines, Exchange
from services.chat_worker.lm_studio.server import ModelServer

# A stream that is empty although this part of the context was filled by the prompt did not fit into it.
_NEARLY_FULL = 0.95

# What no event stream starts with, and JSON (an error, or a server that does not stream) or HTML does.
_BODY_STARTS = (b"{", b"[", b'"', b"<")


class Prompt(Struct, frozen=True):
    """What to ask. `context_length` is what the model was loaded with, if known: it explains empty answers."""

    model: str
    messages: list[context.Message]
    options: ChatOptions | None = None
    context_length: int | None = None


class End(NamedTuple):
    """The stream is over. `finish_reason` None: the server did not say why, so the answer may be cut short.

    `model` is the one that answered, which need not be the one that was asked.
    """

    finish_reason: str | None
    usage: Usage | None
    model: str | None


class _StreamOptions(Struct, frozen=True):
    include_usage: bool


class _Body(Struct, frozen=True, omit_defaults=True):
    model: str
    messages: list[context.Message]
    stream: bool
    stream_options: _StreamOptions
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: list[str] | None = None


class ModelClient:
    """Asks one model server. Nothing is ever asked twice: a repeat is for the caller to decide.

    All deadlines are in seconds. `first_byte` reaches to the first text: loading a model and reading a long prompt
    take minutes in which nothing comes. From then on `idle` is the longest silence; comments do not break it.
    """

    def __init__(
        self,
        server: ModelServer,
        *,
        connect_seconds: float = 2.0,
        first_byte_seconds: float = 600.0,
        idle_seconds: float = 120.0,
        total_seconds: float = 1800.0,
    ) -> None:
        self._server = server
        self._deadlines = Deadlines(connect_seconds, first_byte_seconds, idle_seconds, total_seconds)

    async def answer(self, prompt: Prompt, take: Callable[[Piece], bool]) -> End | None:
        """Gives `take` one `Piece` per read from the network, until it says that this is enough: then there is no end.

        Raises `RequestError` (model_not_found, model_unavailable, model_error, context_overflow), also after some
        pieces: those stand.
        """
        reader = CompletionReader()
        enough = False

        def tell(piece: Piece | None) -> None:
            nonlocal enough
            if piece is not None and not enough:
                enough = not take(piece)

        def feed(data: bytes) -> bool:
            tell(reader.feed(data))
            exchange.heard(reader)
            return not (enough or reader.done)

        async with Exchange(self._server, self._deadlines) as exchange:
            data = await exchange.ask(_body(prompt))
            if exchange.status != HTTPStatus.OK or data.lstrip()[:1] in _BODY_STARTS:
                body = await exchange.whole_body(data)
                tell(reader.read_body(exchange.status, body, exchange.retry_after))
            elif data and feed(data):
                await exchange.hand_on(feed)
            tell(reader.finish())
        if enough:
            return None
        if failure := _failure(prompt, reader, exchange):
            raise failure
        return End(reader.finish_reason, reader.usage, reader.model)


def _body(prompt: Prompt) -> bytes:
    options = prompt.options or ChatOptions()
    return msgspec.json.encode(
        _Body(
            model=prompt.model,
            messages=prompt.messages,
            stream=True,
            stream_options=_StreamOptions(include_usage=True),
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_tokens,
            seed=options.seed,
            stop=options.stop,
        )
    )


def _failure(prompt: Prompt, reader: CompletionReader, exchange: Exchange) -> RequestError | None:
    if reader.failure is not None:
        return reader.failure
    if exchange.failure is not None and reader.finish_reason is None:
        return exchange.failure
    if reader.spoke or reader.finish_reason not in (None, "stop", "length"):
        return None
    # LM Studio answers a prompt that does not fit with a well-formed stream of nothing (its bug 2339).
    used = reader.usage.prompt_tokens if reader.usage else 0
    if prompt.context_length and (used or context.cost(prompt.messages)) >= _NEARLY_FULL * prompt.context_length:
        return model_errors.overflowed()
    return model_errors.said_nothing()
