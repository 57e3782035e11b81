"""Who answers: the model server at LM_STUDIO_URL, or the fallback while nobody answers there.

choose(name) ─▶ first.catalog ── model_unavailable ──▶ fallback.catalog
                     └─▶ Choice(model, client of the same server) ◀─┘

Nobody is deceived: a model is named as its own server names it, and a name that only the first server has is refused
while that is away.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple, TypeVar

from libs.contract.chat import Model, Models
from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.lm_studio.client import ModelClient
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.models import ModelCatalog
from services.chat_worker.lm_studio.server import open_model_server

T = TypeVar("T")


class Source(NamedTuple):
    """One model server: what it has, and the way to ask it."""

    catalog: ModelCatalog
    client: ModelClient


class Choice(NamedTuple):
    """A model, and the client of the server that has it."""

    model: Model
    client: ModelClient


class Sources:
    """The first one that answers. Without a fallback it is the first alone."""

    def __init__(self, first: Source, fallback: Source | None = None) -> None:
        self._first = first
        self._fallback = fallback

    async def choose(self, name: str | None) -> Choice:
        """As `ModelCatalog.choose`. What it raises is the first server's: that is the one a person can mend."""

        async def ask(source: Source) -> Choice:
            return Choice(await source.catalog.choose(name), source.client)

        return await self._ask(ask)

    async def listing(self) -> Models:
        """The models of the server that answers now, and of no other. Raises as `choose`."""
        return await self._ask(lambda source: source.catalog.listing())

    def forget(self) -> None:
        """An answer has failed: look anew who is there."""
        self._first.catalog.forget()

    def pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """For readiness: each server by itself."""
        pings = {"model_server": self._first.catalog.ping}
        if self._fallback is not None:
            pings["model_server_fallback"] = self._fallback.catalog.ping
        return pings

    async def _ask(self, ask: Callable[[Source], Awaitable[T]]) -> T:
        try:
            return await ask(self._first)
        except RequestError as away:
            if self._fallback is None or away.code is not ErrorCode.MODEL_UNAVAILABLE:
                raise
            try:
                return await ask(self._fallback)
            except RequestError:
                raise away from None


@asynccontextmanager
async def open_sources(
    url: str,
    *,
    deadlines: Deadlines,
    api_key: str | None = None,
    default: str | None = None,
    fallback_url: str = "",
) -> AsyncIterator[Sources]:
    """The key and the default model are the first server's; the fallback has its own usual model and wants no key.

    Raises `BadModelServerUrl`.
    """
    if not fallback_url:
        async with _opened(url, api_key, default, deadlines, remember_failures=False) as only:
            yield Sources(only)
        return
    async with (
        # Who has a fallback need not wait again and again to find that the first is still away.
        _opened(url, api_key, default, deadlines, remember_failures=True) as first,
        _opened(fallback_url, None, None, deadlines, remember_failures=False) as fallback,
    ):
        yield Sources(first, fallback)


@asynccontextmanager
async def _opened(
    url: str, api_key: str | None, default: str | None, deadlines: Deadlines, *, remember_failures: bool
) -> AsyncIterator[Source]:
    async with (
        open_model_server(url, api_key) as server,
        aclosing(ModelCatalog(server, default=default, remember_failures=remember_failures)) as catalog,
    ):
        client = ModelClient(
            server,
            connect_seconds=deadlines.connect,
            first_byte_seconds=deadlines.first_byte,
            idle_seconds=deadlines.idle,
            total_seconds=deadlines.total,
        )
        yield Source(catalog, client)
