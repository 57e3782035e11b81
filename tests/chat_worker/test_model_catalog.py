"""Which models there are, on every kind of server, without asking it more often than needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.contract.chat import Model
from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.lm_studio.models import ModelCatalog
from services.chat_worker.lm_studio.server import BadModelServerUrl, open_model_server, root_of
from tests.scripted_model import waiting
from tests.scripted_model.catalogs import Flavour
from tests.scripted_model.scripts import SCRIPTS
from tests.scripted_model.server import ScriptedModel


@asynccontextmanager
async def catalog_of(
    url: str, default: str | None = None, *, remember_failures: bool = False, **ages: float
) -> AsyncIterator[ModelCatalog]:
    async with open_model_server(url) as server:
        catalog = ModelCatalog(server, default=default, remember_failures=remember_failures, **ages)
        try:
            yield catalog
        finally:
            await catalog.aclose()


@pytest.mark.parametrize(
    ("flavour", "echo", "held"),
    [
        ("lmstudio-v1", Model("echo", True, 4096, 32768), Model("held", False, None, 32768)),
        ("lmstudio-v0", Model("echo", True, 4096, 32768), Model("held", False, None, 32768)),
        ("llama", Model("echo", True, 4096, 32768), Model("held", True, 4096, 32768)),
        ("vllm", Model("echo", True, 4096, 4096), Model("held", True, 4096, 4096)),
        ("plain", Model("echo", None, None, None), Model("held", None, None, None)),
    ],
)
async def test_every_kind_of_server_lists_its_models(flavour: Flavour, echo: Model, held: Model) -> None:
    """With the loaded context length, not the largest possible; embedding models are left out."""
    async with ScriptedModel.running(flavour=flavour) as model, catalog_of(model.url) as catalog:
        listing = await catalog.listing()
        assert await catalog.choose("echo") == echo
        assert await catalog.choose("held") == held
    assert [listed.id for listed in listing.models] == list(SCRIPTS)
    assert listing.default == "echo"


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/"])
async def test_the_url_is_taken_with_and_without_v1(end: str) -> None:
    """People write both."""
    async with ScriptedModel.running() as model, catalog_of(model.url + end) as catalog:
        assert (await catalog.choose(None)).id == "echo"


def test_a_path_in_front_of_v1_is_kept() -> None:
    """A proxy may serve several model servers."""
    assert root_of("https://example.org/lm/v1/") == "https://example.org/lm"


@pytest.mark.parametrize(
    "url", ["localhost:1234", "ftp://x/v1", "http://", "http://me:secret@x/v1", "http://x:port/", ""]
)
def test_a_url_that_leads_nowhere_is_refused_with_a_sentence(url: str) -> None:
    """Without the password that may stand in it."""
    with pytest.raises(BadModelServerUrl, match="LM_STUDIO_URL") as caught:
        root_of(url)
    assert "secret" not in str(caught.value)


async def test_the_configured_default_answers_when_no_model_is_named() -> None:
    """And a name goes before it."""
    async with ScriptedModel.running() as model, catalog_of(model.url, default="tokens") as catalog:
        assert (await catalog.choose(None)).id == "tokens"
        assert (await catalog.choose("paced")).id == "paced"
        assert (await catalog.listing()).default == "tokens"


async def test_an_unknown_name_is_refused_with_some_that_exist() -> None:
    """Five are enough to see what was meant."""
    async with ScriptedModel.running() as model, catalog_of(model.url) as catalog:
        with pytest.raises(RequestError) as caught:
            await catalog.choose("gpt-9")
    assert caught.value.code is ErrorCode.MODEL_NOT_FOUND
    assert caught.value.message == (
        f"The model server has no model “gpt-9”; it has {', '.join(list(SCRIPTS)[:5])} and {len(SCRIPTS) - 5} more."
    )


async def test_a_model_newer_than_the_list_is_found() -> None:
    """Before a name is refused, the server is asked again."""
    async with ScriptedModel.running() as model, catalog_of(model.url) as catalog:
        await catalog.choose(None)
        model.also.append("paced-10-10")
        assert (await catalog.choose("paced-10-10")).id == "paced-10-10"


async def test_a_server_that_is_away_is_unavailable_and_may_come_back() -> None:
    """Each asker hears of it; nothing of the failure is remembered."""
    async with ScriptedModel.running() as model:
        url, port = model.url, model.port
    async with catalog_of(url) as catalog:
        for ask in (catalog.ping, catalog.listing, lambda: catalog.choose(None)):
            with pytest.raises(RequestError) as caught:
                await ask()
            assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
        async with ScriptedModel.running(port=port):
            await catalog.ping()


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    """Within the deadline of one try."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with (
        listener,
        catalog_of(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", try_seconds=0.1) as catalog,
    ):
        with pytest.raises(RequestError, match=r"did not list its models within 0\.1 s"):
            await asyncio.wait_for(catalog.ping(), 1)


async def test_many_askers_share_one_fetch_and_a_fresh_list_is_not_fetched_again() -> None:
    """One request to the server, whoever asks."""
    async with ScriptedModel.running(flavour="lmstudio-v1") as model, catalog_of(model.url) as catalog:
        await asyncio.gather(*(catalog.choose(None) for _ in range(50)))
        await catalog.listing()
        assert model.listed == 1


async def test_one_asker_who_leaves_takes_the_list_from_nobody() -> None:
    """The shared fetch goes on."""
    async with ScriptedModel.running() as model, catalog_of(model.url) as catalog:
        leaving = asyncio.create_task(catalog.choose(None))
        staying = asyncio.create_task(catalog.choose(None))
        await asyncio.sleep(0)
        leaving.cancel()
        assert (await staying).id == "echo"


async def test_a_stale_list_is_used_while_a_new_one_is_fetched_behind_it() -> None:
    """A warm catalog makes nobody wait."""
    async with ScriptedModel.running() as model, catalog_of(model.url, fresh_seconds=0) as catalog:
        await catalog.listing()
        model.also.append("paced-10-10")
        assert "paced-10-10" not in [model.id for model in (await catalog.listing()).models]

        async def listed() -> bool:
            return "paced-10-10" in [model.id for model in (await catalog.listing()).models]

        await waiting.until(listed)


async def test_the_list_that_worked_is_asked_first_the_next_time() -> None:
    """LM Studio logs every request for a path that it does not have."""
    async with ScriptedModel.running(flavour="plain") as model, catalog_of(model.url, stale_seconds=0) as catalog:
        await catalog.listing()
        assert model.listed == 3
        await catalog.listing()
        assert model.listed == 4
