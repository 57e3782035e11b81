"""A link cuts, freezes and slows down what goes through it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.chaos.tcp_proxy import Link

WHOLE_ANSWER_SECONDS = 0.3


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1024):
            writer.write(data)
    writer.close()


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that says everything back."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    opened = Link("test", "test")
    await opened.open(0, server.sockets[0].getsockname()[1])
    yield opened
    await opened.close()
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


class Caller:
    """One connection through the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def hears(self, seconds: float = WHOLE_ANSWER_SECONDS) -> bytes:
        """What comes next; nothing when the connection has ended."""
        try:
            return await asyncio.wait_for(self._reader.read(1024), seconds)
        except ConnectionError:
            return b""

    async def calls(self) -> bytes:
        self._writer.write(b"hello")
        return await self.hears()


@asynccontextmanager
async def connected(link: Link) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.proxies[0].port)
    yield Caller(reader, writer)
    writer.close()


async def test_a_link_forwards_both_ways(link: Link) -> None:
    """As if it were not there."""
    async with connected(link) as caller:
        assert await caller.calls() == b"hello"


async def test_a_cut_link_breaks_what_is_open_and_refuses_what_comes(link: Link) -> None:
    """Until it is mended."""
    async with connected(link) as before, connected(link) as meanwhile:
        assert await before.calls() == b"hello"
        link.cut()
        assert await before.hears() == b""
        assert await meanwhile.hears() == b""
    async with connected(link) as refused:
        assert await refused.hears() == b""
    link.mend()
    async with connected(link) as after:
        assert await after.calls() == b"hello"


async def test_a_frozen_link_keeps_everything_back_and_loses_nothing(link: Link) -> None:
    """Nobody is told."""
    async with connected(link) as caller:
        link.freeze()
        with pytest.raises(TimeoutError):
            await caller.calls()
        link.mend()
        assert await caller.hears() == b"hello"


async def test_a_trap_springs_at_what_goes_out(link: Link) -> None:
    """Before it is there, and not at what comes back."""
    sprung: list[str] = []
    link.traps[b"hello"] = lambda: sprung.append("hello")
    link.traps[b"other"] = lambda: sprung.append("other")
    async with connected(link) as caller:
        assert await caller.calls() == b"hello"
    assert sprung == ["hello"]


async def test_a_slow_link_takes_its_time(link: Link) -> None:
    """Each way."""
    async with connected(link) as caller:
        link.delay_seconds = 0.1
        began = asyncio.get_running_loop().time()
        assert await caller.calls() == b"hello"
        assert asyncio.get_running_loop().time() - began >= 0.2
