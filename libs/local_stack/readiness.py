"""How to tell that a server is ready for work. Each question is short; asking again is the supervisor's part."""

import asyncio
from collections.abc import Awaitable, Callable

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 2.5


def says(port: int, *, expected: bytes, asked: bytes = b"", host: str = LOOPBACK) -> Callable[[], Awaitable[bool]]:
    """Ready when a TCP port, after it was sent `asked`, says a line that holds `expected`."""

    async def ready() -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    writer.write(asked)
                    return expected in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    return ready


def http_ok(port: int, path: str, *, host: str = LOOPBACK) -> Callable[[], Awaitable[bool]]:
    """Ready when `GET path` answers 200.

    By hand: an httpx client reads all root certificates when it is made, 20 ms of the time in which the services start.
    """
    asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return says(port, asked=asked.encode(), expected=b" 200 ", host=host)
