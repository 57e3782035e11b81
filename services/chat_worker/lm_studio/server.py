"""The way to the model server: where it is, and one HTTP session for it.

Short questions go by httpx's API, token streams by the aiohttp session underneath: httpx over its own transport makes a
paced stream cost three times as much, over this one still a tenth more.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

# Answers that run at once in one worker are bounded by its slots; this only has to be above that.
_MOST_CONNECTIONS = 1024

_TIMEOUT_SECONDS = 5.0

# All that a transport raises: httpx's errors, and those of aiohttp that httpx-aiohttp 0.2 does not translate
# (a malformed status line, a malformed chunk size).
TRANSPORT_ERRORS = (httpx.HTTPError, aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


class ModelServer(NamedTuple):
    """An HTTP client whose relative addresses start at the server's root, its session, and that root."""

    http: httpx.AsyncClient
    session: aiohttp.ClientSession
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
    if api_key:
        headers["authorization"] = f"Bearer {api_key.strip()}"
    connector = aiohttp.TCPConnector(force_close=True, limit=_MOST_CONNECTIONS)
    session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers)
    # The session brings its own certificates; without a context the transport would load httpx's as well, for nothing.
    transport = AiohttpTransport(client=session, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    async with httpx.AsyncClient(
        base_url=f"{root}/", headers=headers, transport=transport, trust_env=False, timeout=_TIMEOUT_SECONDS
    ) as http:
        yield ModelServer(http, session, root)
