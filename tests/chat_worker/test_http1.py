"""The response to one POST, byte by byte: what ends a body, what breaks it, and what is kept of it."""

import asyncio
from contextlib import suppress

import pytest

from services.chat_worker.lm_studio.http1 import Broken, DeadlinePassedError, Response
from tests.chat_worker.raw_servers import PATIENCE_SECONDS, origin, sends
from tests.scripted_model import wire
from tests.waiting import until

# name → what the server sends before it closes, and the body that is read
WHOLE = {
    "length": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "no body": (b"HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n", b""),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    "until closed": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello"),
    "old": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "after hints": (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nh", b"h"),
    "with a trailer": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nretry-after: 5\r\n\r\n",
        b"h",
    ),
    "with more behind it": (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nhHTTP/1.1 500 Oh\r\nlink: x\r\n\r\nno", b"h"),
}

# name → what the server sends before it closes, and how much of it is read before that is noticed
BROKEN = {
    "nothing": (b"", b""),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le", b""),
    "half a length": (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", b"hel"),
    "no last chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n", b"hel"),
    "no chunk size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nzz\r\n", b"hel"),
    "no HTTP": (b"220 smtp.example ESMTP\r\n", b""),
    "hints alone": (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", b""),
}

ENDLESS = {
    "head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000,
    "trailer": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nx: " + b"y" * 200_000,
}


async def read_all(response: Response) -> bytes:
    response.set_due(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
    data = b""
    while more := await response.read():
        data += more
    return data


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_body_is_read_to_its_end(name: str) -> None:
    """However its end is told."""
    sent, body = WHOLE[name]
    async with origin(sends(sent)) as server:
        response = await server.post("/", b"{}")
        assert await read_all(response) == body
        assert response.status == (503 if name == "no body" else 200)
        assert "link" not in response.headers
        assert "retry-after" not in response.headers
        response.close()


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_body_is_read_as_far_as_it_goes(name: str) -> None:
    """And then it is said that it is broken."""
    sent, before = BROKEN[name]
    async with origin(sends(sent)) as server:
        response = await server.post("/", b"{}")
        response.set_due(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
        if before:
            assert await response.read() == before
        with pytest.raises(Broken):
            await response.read()
        response.close()


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_is_not_kept(name: str) -> None:
    """It is broken when it is too large, although the connection lives."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ENDLESS[name])
        with suppress(OSError):
            await reader.read()

    async with origin(serve) as server:
        response = await server.post("/", b"")
        with pytest.raises(Broken):
            await read_all(response)
        response.close()


@pytest.mark.parametrize("name", WHOLE)
async def test_what_is_handed_on_is_what_is_read(name: str) -> None:
    """All of it, also when it was there already."""
    sent, body = WHOLE[name]
    async with origin(sends(sent)) as server:
        for late in (False, True):
            response = await server.post("/", b"{}")
            response.set_due(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
            if late:
                await until(lambda response=response: response.status is not None)  # type: ignore[misc]
            taken: list[bytes] = []

            def take(data: bytes, taken: list[bytes] = taken) -> bool:
                taken.append(data)
                return True

            await response.hand_on(take)
            assert b"".join(taken) == body
            response.close()


async def test_a_silent_server_is_waited_for_until_the_deadline() -> None:
    """Which can be moved while it is waited for, in both directions."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await release.wait()

    async with origin(serve) as server:
        loop = asyncio.get_running_loop()
        response = await server.post("/", b"{}")
        response.set_due(loop.time() + 60)
        reading = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        response.set_due(loop.time() + 0.05)
        with pytest.raises(DeadlinePassedError):
            await asyncio.wait_for(reading, PATIENCE_SECONDS)
        response.close()
        release.set()


async def test_a_server_that_floods_leaves_turns_to_others() -> None:
    """However fast it sends: of much data there is one read in a turn of the event loop."""
    size = 32 * 1024 * 1024
    turns = 0
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
        with suppress(OSError):
            await writer.drain()

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def take(data: bytes) -> bool:
        if len(data) >= 64 * 1024:
            taken.append(turns)
        return True

    async with origin(serve) as server:
        turning = asyncio.create_task(turn())
        response = await server.post("/", b"{}")
        response.set_due(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
        await response.hand_on(take)
        turning.cancel()
        response.close()
    assert len(taken) > 1
    assert len(set(taken)) == len(taken)


async def test_a_body_that_nobody_reads_is_left_to_the_server() -> None:
    """What it cannot send it has to keep; nothing of it is lost when it is read after all."""
    size = 64 * 1024 * 1024
    sent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        writer.write(bytes(size))
        await writer.drain()
        sent.set()

    async with origin(serve) as server:
        response = await server.post("/", b"{}")
        response.set_due(asyncio.get_running_loop().time() + PATIENCE_SECONDS)
        first = await response.read()
        assert not sent.is_set()
        rest = await read_all(response)
        assert len(first) + len(rest) == size
        response.close()


async def test_a_request_is_one_that_every_server_reads() -> None:
    """Its path under the root, its host and port, its length; and that the connection is for it alone."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(7))
        writer.write(wire.body(200, b"{}"))

    async with origin(serve) as server:
        response = await server.post("/v1/chat/completions", '{"é":1}'.encode()[:7])
        await read_all(response)
        response.close()
    lines = heard[0].decode("latin-1").split("\r\n")
    assert lines[0] == "POST /api/v1/chat/completions HTTP/1.1"
    assert {line.partition(":")[0]: line.partition(": ")[2] for line in lines[1:-2]} == {
        "host": lines[1].removeprefix("host: "),
        "connection": "close",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "7",
    }
    assert lines[1].startswith("host: 127.0.0.1:")
