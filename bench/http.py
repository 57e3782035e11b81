"""One HTTP connection that is kept open, as cheap as can be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

SECONDS = 10.0


class Http:
    """Made by `opened`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, method: str, path: str, body: object) -> Any:
        """The decoded answer. Raises `RuntimeError` unless all is well."""
        content = msgspec.json.encode(body)
        self._writer.write(
            b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (method.encode(), path.encode(), len(content), content)
        )
        async with asyncio.timeout(SECONDS):
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
            answer = await self._reader.readexactly(length)
        if not lines[0].startswith(b"http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {answer.decode(errors='replace')}")
        return msgspec.json.decode(answer)


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[Http]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Http(reader, writer)
    finally:
        writer.close()
