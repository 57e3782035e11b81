"""The way to the model server: where it is; httpx for short questions, an `Origin` for streams of tokens."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from services.chat_worker.lm_studio.http1 import Origin

_TIMEOUT_SECONDS = 5.0


class ModelServer(NamedTuple):
    """An HTTP client whose relative addresses start at the server's root, the same root for streams, and as text."""

    http: httpx.AsyncClient
    origin: Origin
    url: str


class BadModelServerUrl(ValueError):
    """LM_STUDIO_URL leads to no model server; the message is a sentence for the person who configures."""


def root_of(url: str) -> str:
    """The root of a model server: its URL without the `/v1` that people write or leave out.

    Raises `BadModelServerUrl` when it is no HTTP URL.

    >>> root_of("http://localhost:1234/v1/")
    'http://localhost:1234'
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise BadModelServerUrl(
            f"LM_STUDIO_URL is not a URL ({error}); it should look like http://localhost:1234/v1."
        ) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise BadModelServerUrl(f"LM_STUDIO_URL should look like http://localhost:1234/v1, not {url!r}.")
    if parsed.userinfo:
        raise BadModelServerUrl("LM_STUDIO_URL holds a password; set LM_STUDIO_API_KEY instead.")
    path = parsed.path.rstrip("/").removesuffix("/v1")
    return str(parsed.copy_with(path=path or "/", query=None, fragment=None)).rstrip("/")


@asynccontextmanager
async def open_model_server(url: str, api_key: str | None = None) -> AsyncIterator[ModelServer]:
    """Connects to nobody yet: a model server that is away is no reason not to start.

    Every request has a connection of its own. Reusing them saves a tenth of a millisecond per answer and costs a race:
    LM Studio closes idle ones after 5 s, and a request that meets the closing fails although it may have been read.
    """
    root = root_of(url)
    # No compression: it would hold tokens back. Redirects stay off: they would send conversations elsewhere. The
    # default timeout is for short requests; a token stream sets its own.
    headers = {"accept-encoding": "identity"}
    if api_key and (key := api_key.strip()):
        if not (key.isascii() and key.isprintable()):
            raise BadModelServerUrl("LM_STUDIO_API_KEY holds a character that no HTTP header can: is it pasted whole?")
        headers["authorization"] = f"Bearer {key}"
    # Loading the certificates takes 20 ms, and most model servers are asked without.
    tls = ssl.create_default_context() if root.startswith("https:") else None
    async with httpx.AsyncClient(
        base_url=f"{root}/",
        headers={"connection": "close", **headers},
        verify=tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        limits=httpx.Limits(max_keepalive_connections=0),
        trust_env=False,
        timeout=_TIMEOUT_SECONDS,
    ) as http:
        yield ModelServer(http, Origin(root, headers, tls), root)
