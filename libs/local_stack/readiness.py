"""How to tell that a server is ready for work. Each question is short; asking again is the supervisor's part."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

ANSWER_SECONDS = 2.5


def http_ok(url: str) -> Callable[[], Awaitable[bool]]:
    """Ready when `GET url` answers 200."""

    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_SECONDS) as client:
                return (await client.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def says(port: int, *, expected: bytes, after: bytes = b"") -> Callable[[], Awaitable[bool]]:
    """Ready when a loopback TCP port, after it was sent `after`, says a line that holds `expected`."""

    async def ready() -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(after)
                    return expected in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return ready
