"""The built-in model answers while nobody does at LM_STUDIO_URL, and nobody is deceived about who answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.models import ModelCatalog
from services.chat_worker.lm_studio.server import open_model_server
from services.chat_worker.lm_studio.sources import Sources, open_sources
from tests.scripted_model import waiting
from tests.scripted_model.asking import hear, prompt
from tests.scripted_model.server import ScriptedModel


async def an_address_where_nobody_answers() -> tuple[str, int]:
    async with ScriptedModel.running() as model:
        return model.url, model.port


@asynccontextmanager
async def sources_of(url: str, fallback_url: str) -> AsyncIterator[Sources]:
    async with open_sources(url, default="echo", fallback_url=fallback_url, deadlines=Deadlines()) as sources:
        yield sources


async def test_the_first_server_answers_while_it_is_there() -> None:
    """The fallback is not even asked what it has."""
    async with (
        ScriptedModel.running() as first,
        ScriptedModel.running() as fallback,
        sources_of(first.url, fallback.url) as sources,
    ):
        choice = await sources.choose(None)
        await hear(choice.client, prompt(choice.model.id))
        assert (len(first.seen), len(fallback.seen), fallback.listed) == (1, 0, 0)


async def test_the_fallback_answers_while_nobody_does_at_the_first() -> None:
    """With its own usual model: the configured default is the first server's."""
    url, _ = await an_address_where_nobody_answers()
    async with ScriptedModel.running() as fallback, sources_of(url, fallback.url) as sources:
        choice = await sources.choose(None)
        await hear(choice.client, prompt(choice.model.id))
        assert len(fallback.seen) == 1
        assert (await sources.listing()).default == choice.model.id
        readiness = sources.pings()
        await readiness["model_server_fallback"]()
        with pytest.raises(RequestError, match="Nobody answers"):
            await readiness["model_server"]()


async def test_a_model_that_only_the_first_server_has_is_not_replaced_by_another() -> None:
    """Who asks for it by name hears that its server is away."""
    url, _ = await an_address_where_nobody_answers()
    async with ScriptedModel.running() as fallback, sources_of(url, fallback.url) as sources:
        with pytest.raises(RequestError) as caught:
            await sources.choose("qwen3-30b")
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert caught.value.message.startswith(f"Nobody answers at {url}")


async def test_a_model_that_an_answering_first_server_lacks_is_not_looked_for_in_the_fallback() -> None:
    """Only who is away is replaced."""
    async with (
        ScriptedModel.running() as first,
        ScriptedModel.running() as fallback,
        sources_of(first.url, fallback.url) as sources,
    ):
        with pytest.raises(RequestError) as caught:
            await sources.choose("gpt-9")
        assert (caught.value.code, fallback.listed) == (ErrorCode.MODEL_NOT_FOUND, 0)


async def test_after_a_failed_answer_the_next_one_is_the_fallbacks() -> None:
    """The list that is remembered is of a server that may have gone."""
    url, port = await an_address_where_nobody_answers()
    async with ScriptedModel.running() as fallback, sources_of(url, fallback.url) as sources:
        async with ScriptedModel.running(port=port):
            before = await sources.choose(None)
        sources.forget()
        after = await sources.choose(None)
        assert after.client is not before.client


async def test_the_first_server_takes_over_when_it_comes() -> None:
    """Nobody waits for it: it is looked for behind those who ask."""
    url, port = await an_address_where_nobody_answers()
    async with open_model_server(url) as server:
        catalog = ModelCatalog(server, fresh_seconds=0, remember_failures=True)
        with pytest.raises(RequestError):
            await catalog.ping()
        async with ScriptedModel.running(port=port):

            async def there() -> bool:
                try:
                    await catalog.ping()
                except RequestError:
                    return False
                return True

            await waiting.until(there)
        await catalog.aclose()


async def test_a_failure_that_is_remembered_is_not_asked_for_again_while_it_is_fresh() -> None:
    """A firewall that drops would make every chat wait for 2 s."""
    url, port = await an_address_where_nobody_answers()
    async with open_model_server(url) as server:
        catalog = ModelCatalog(server, remember_failures=True)
        with pytest.raises(RequestError):
            await catalog.ping()
        async with ScriptedModel.running(port=port) as model:
            with pytest.raises(RequestError, match="Nobody answers"):
                await catalog.ping()
            assert model.listed == 0
        await catalog.aclose()
