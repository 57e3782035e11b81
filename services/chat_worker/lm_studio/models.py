"""Which models the model server has, which one answers, and how long a context it was loaded with.

LM Studio says most in its own lists (`/api/v1/models` since 0.4, `/api/v0/models` since 0.3.6); the OpenAI list
`/v1/models` is all that other servers have. The context length that counts is the *loaded* one, often a fraction of
what the model could do.
"""

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

import httpx
import msgspec
from msgspec import Struct

from libs.contract.chat import Model, Models
from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.lm_studio import model_errors
from services.chat_worker.lm_studio.server import ModelServer

_NAMED_IN_ERRORS = 5


class _InstanceConfig(Struct):
    context_length: int | None = None


class _Instance(Struct):
    id: str
    config: _InstanceConfig | None = None


class _V1Model(Struct):
    key: str
    type: str = "llm"
    loaded_instances: list[_Instance] = []
    max_context_length: int | None = None


class _V1List(Struct):
    models: list[_V1Model]


class _V0Model(Struct):
    id: str
    state: str
    type: str = "llm"
    loaded_context_length: int | None = None
    max_context_length: int | None = None


class _V0List(Struct):
    data: list[_V0Model]


class _LlamaMeta(Struct):
    n_ctx: int | None = None
    n_ctx_train: int | None = None


class _OpenAIModel(Struct):
    id: str
    meta: _LlamaMeta | None = None  # llama.cpp
    max_model_len: int | None = None  # vLLM


class _OpenAIList(Struct):
    data: list[_OpenAIModel] | None  # Ollama without a model says null


def _from_v1(body: bytes) -> list[Model]:
    models = []
    for listed in msgspec.json.decode(body, type=_V1List).models:
        if listed.type != "llm":
            continue
        lengths: dict[str, list[int]] = {}
        for instance in listed.loaded_instances:
            length = instance.config.context_length if instance.config else None
            # An instance loaded under a name of its own answers to that name too.
            for name in {listed.key, instance.id}:
                lengths.setdefault(name, []).extend([] if length is None else [length])
        for name in lengths or [listed.key]:
            loaded = min(lengths.get(name, []), default=None)
            models.append(Model(name, bool(listed.loaded_instances), loaded, listed.max_context_length))
    return models


def _from_v0(body: bytes) -> list[Model]:
    return [
        Model(listed.id, listed.state == "loaded", listed.loaded_context_length, listed.max_context_length)
        for listed in msgspec.json.decode(body, type=_V0List).data
        if listed.type != "embeddings"
    ]


def _from_openai(body: bytes) -> list[Model]:
    models = []
    for listed in msgspec.json.decode(body, type=_OpenAIList).data or []:
        if listed.id.startswith("text-embedding-"):  # LM Studio's prefix; this list has no types
            continue
        meta = listed.meta or _LlamaMeta()
        length = meta.n_ctx or listed.max_model_len
        models.append(Model(listed.id, True if length else None, length, meta.n_ctx_train or listed.max_model_len))
    return models


class _List(NamedTuple):
    path: str
    read: Callable[[bytes], list[Model]]


_LISTS = (_List("api/v1/models", _from_v1), _List("api/v0/models", _from_v0), _List("v1/models", _from_openai))


class ModelCatalog:
    """Knows the server's models. Close it with `aclose`.

    A list younger than `fresh_seconds` is used as it is; up to `stale_seconds` it is used while a new one is fetched
    behind it; an older one is waited for. Many askers share one fetch. A failed fetch forgets the list; with
    `remember_failures` it is the failure that is then used in the same way, so that who can go elsewhere does at once.
    """

    def __init__(
        self,
        server: ModelServer,
        *,
        default: str | None = None,
        fresh_seconds: float = 10.0,
        stale_seconds: float = 60.0,
        try_seconds: float = 2.0,
        remember_failures: bool = False,
    ) -> None:
        self._server = server
        self._default = default
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._try_seconds = try_seconds
        self._remember_failures = remember_failures
        self._lists: tuple[_List, ...] = _LISTS
        self._found: list[Model] | RequestError | None = None
        self._fetched_at = 0.0
        self._fetch: asyncio.Task[list[Model]] | None = None

    async def choose(self, name: str | None) -> Model:
        """The model of that name; without one the configured default, else the first loaded, else the first.

        Raises `RequestError`: model_not_found, model_unavailable, or model_error (the key or the URL is wrong).
        """
        models = await self._known()
        wanted = name or self._default
        if wanted is None:
            return _usual(models)
        found = _named(wanted, models)
        if found is None:
            # It may be newer than the list.
            models = await self._fetched()
            found = _named(wanted, models)
        if found is None:
            raise _unknown(wanted, models)
        return found

    async def listing(self) -> Models:
        """All models, and the one that answers when none is asked for. Raises as `choose`."""
        models = await self._known()
        default = self._default or (_usual(models).id if models else None)
        return Models(models, default)

    async def ping(self) -> None:
        """Whether the server lists its models. Raises `RequestError`; a worker without it is still a worker."""
        await self._known()

    def forget(self) -> None:
        """Something went wrong there: who asks next waits for a new list."""
        self._found = None

    async def aclose(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            with contextlib.suppress(asyncio.CancelledError, RequestError):
                await self._fetch

    async def _known(self) -> list[Model]:
        age = asyncio.get_running_loop().time() - self._fetched_at
        found = self._found
        if found is None or age >= self._stale_seconds:
            return await self._fetched()
        if age >= self._fresh_seconds:
            self._fetching()
        if isinstance(found, RequestError):
            raise RequestError(found.code, found.message)
        return found

    async def _fetched(self) -> list[Model]:
        # Shielded: one asker who goes away takes the list from nobody else.
        return await asyncio.shield(self._fetching())

    def _fetching(self) -> asyncio.Task[list[Model]]:
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._refresh())
            # A fetch in the background has nobody to raise to; the next asker fetches anew and hears it.
            self._fetch.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetch

    async def _refresh(self) -> list[Model]:
        try:
            models = await self._ask_all()
        except BaseException as error:
            self._keep(error if self._remember_failures and isinstance(error, RequestError) else None)
            raise
        self._keep(models)
        return models

    def _keep(self, found: list[Model] | RequestError | None) -> None:
        self._found = found
        self._fetched_at = asyncio.get_running_loop().time()

    async def _ask_all(self) -> list[Model]:
        """The first list that the server has. The one that it had last is asked first: LM Studio logs the others."""
        error = model_errors.unreadable("")
        for listed in self._lists:
            status, body = await self._get(listed.path)
            if status == HTTPStatus.OK:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    models = listed.read(body)
                    self._lists = (listed, *(other for other in _LISTS if other is not listed))
                    return models
            error = model_errors.refused(status, body)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE):
                break
        raise error

    async def _get(self, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._try_seconds):
                response = await self._server.http.get(path)
        except TimeoutError:
            raise model_errors.too_late("did not list its models", self._try_seconds) from None
        except (httpx.HTTPError, OSError):
            raise model_errors.unreachable(self._server.url) from None
        return response.status_code, response.content


def _usual(models: list[Model]) -> Model:
    if not models:
        raise RequestError(
            ErrorCode.MODEL_UNAVAILABLE, "The model server has no model; download one there and ask again."
        )
    return next((model for model in models if model.loaded), models[0])


def _named(name: str, models: list[Model]) -> Model | None:
    return next((model for model in models if model.id == name), None)


def _unknown(name: str, models: list[Model]) -> RequestError:
    some = ", ".join(model.id for model in models[:_NAMED_IN_ERRORS])
    more = f" and {len(models) - _NAMED_IN_ERRORS} more" if len(models) > _NAMED_IN_ERRORS else ""
    has = f"it has {some}{more}" if models else "it has none"
    return RequestError(ErrorCode.MODEL_NOT_FOUND, f"The model server has no model “{name}”; {has}.")
