"""Which model server answers the chats: LM Studio (or another OpenAI-compatible server), or the built-in model."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import msgspec

from libs.local_stack.start_error import StartError

DEFAULT_URL = "http://localhost:1234/v1"
# Nobody has asked for it, so nobody should wait for it.
DEFAULT_SECONDS = 1.0
ASKED_SECONDS = 3.0
HINT = "correct it, or use the built-in model with --builtin-model"


class ModelChoice(msgspec.Struct, frozen=True):
    """`url` None: the built-in model. `why`: a sentence for the person who starts the stack."""

    url: str | None
    why: str


class NotAModelServerError(Exception):
    """What is at that address instead, as the end of a sentence."""


async def choose(env: Mapping[str, str], *, builtin: bool) -> ModelChoice:
    """LM Studio if it answers. Raises StartError when LM_STUDIO_URL names one that does not."""
    if builtin:
        return ModelChoice(None, "The built-in SmolLM2 runs, as --builtin-model asks.")
    asked = env.get("LM_STUDIO_URL", "").strip()
    api_key = env.get("LM_STUDIO_API_KEY", "").strip()
    if not api_key.isascii() or not api_key.isprintable():
        raise StartError("LM_STUDIO_API_KEY holds characters that no key has: copy it again from the model server.")
    if asked:
        return await choose_asked(asked.rstrip("/"), api_key)
    try:
        await check(DEFAULT_URL, api_key, DEFAULT_SECONDS)
    except NotAModelServerError as error:
        return ModelChoice(None, f"{DEFAULT_URL} {error}, so the built-in SmolLM2 runs.")
    return ModelChoice(DEFAULT_URL, f"LM Studio answers at {DEFAULT_URL}.")


async def choose_asked(url: str, api_key: str) -> ModelChoice:
    """The server that the person named, with `/v1` added where only that was missing."""
    check_form(url)
    try:
        await check(url, api_key, ASKED_SECONDS)
    except NotAModelServerError as error:
        corrected = f"{url}/v1"
        try:
            await check(corrected, api_key, ASKED_SECONDS)
        except NotAModelServerError:
            raise StartError(f"LM_STUDIO_URL={url} {error}: {HINT}.") from None
        return ModelChoice(corrected, f"A model server answers at {corrected} (LM_STUDIO_URL lacked the /v1).")
    return ModelChoice(url, f"A model server answers at {url}.")


def check_form(url: str) -> None:
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        if parts.password or parts.username:
            raise StartError("LM_STUDIO_URL holds a user or a password: set LM_STUDIO_API_KEY instead.")
    except ValueError:
        complete = False
    if not complete:
        raise StartError(f"LM_STUDIO_URL={url} is not an address like {DEFAULT_URL}: {HINT}.")


async def check(url: str, api_key: str, seconds: float) -> None:
    """Raise NotAModelServerError unless `GET url/models` gives a list of models.

    A status of 200 alone proves nothing: LM Studio answers 200 with an `error` on paths that it does not know.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        # httpx's own limit is for each read; a server that drips would pass it for ever.
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(trust_env=False, timeout=seconds, headers=headers) as client,
        ):
            response = await client.get(f"{url}/models")
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise NotAModelServerError("is not answering") from None
    except (httpx.TimeoutException, TimeoutError):
        raise NotAModelServerError(f"has not answered within {seconds:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotAModelServerError(f"does not speak HTTP ({error})") from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise NotAModelServerError(f"answers {response.status_code}, so it wants a (different) LM_STUDIO_API_KEY")
    if not lists_models(response):
        raise NotAModelServerError("is not an OpenAI-compatible server (no list of models at /models)")


def lists_models(response: httpx.Response) -> bool:
    try:
        body = response.json()
    except ValueError:
        return False
    return response.is_success and isinstance(body, dict) and isinstance(body.get("data"), list)
