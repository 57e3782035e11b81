"""`/asyncapi.json`: the protocol of the WebSocket, for programs; the same document as docs/contract/asyncapi.json."""

import asyncio
import functools

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.contract_docs import asyncapi


def contract_routes() -> list[Route]:
    return [Route("/asyncapi.json", _asyncapi_json)]


async def _asyncapi_json(_: Request) -> Response:
    # Made for the first who asks, so that the start pays nothing; 60 ms, which no frame should wait for.
    return Response(await asyncio.to_thread(_document), media_type="application/json")


@functools.cache
def _document() -> bytes:
    return msgspec.json.encode(asyncapi.document())
