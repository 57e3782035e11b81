"""The clients of the tests: an undocumented frame fails the test, whoever reads it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from websockets.asyncio.server import ServerConnection, serve

from libs.client.connection import ClientError
from tests.clients import UndocumentedFrame, check_frame, open_client, open_socket
from tests.contract.frozen import FRAMES, type_of

READY = next(line for line in FRAMES if type_of(line) == "session:ready")

UNDOCUMENTED = {
    "no such type": '{"type":"chat:sung","data":{}}',
    "one field more": '{"type":"session:draining","data":{"reconnectWithinMs":5,"why":"lunch"}}',
    "one field more in the frame": '{"type":"session:draining","data":{"reconnectWithinMs":5},"why":"lunch"}',
    "one field less": '{"type":"session:draining","data":{}}',
    "another name": '{"type":"session:draining","data":{"reconnect_within_ms":5}}',
    "another type": '{"type":"session:draining","data":{"reconnectWithinMs":"5"}}',
    "an id that nobody gave": '{"type":"session:draining","id":"a","data":{"reconnectWithinMs":5}}',
    "null for nothing": '{"type":"chat:status","data":{"requestId":"r","conversationId":1,"messageId":2,'
    '"status":"loading_model","position":null}}',
    "a time without offset": '{"type":"monitoring:host","data":{"host":"a","status":"live",'
    '"lastSampleAt":"2026-01-02T03:04:05","intervalSeconds":1}}',
    "an unheard code": '{"type":"error","data":{"code":"odd","message":"","retryable":false}}',
    "data where there is none": '{"type":"pong","data":{}}',
    "no object": "[]",
}


@pytest.mark.parametrize("frame", UNDOCUMENTED.values(), ids=UNDOCUMENTED)
def test_an_undocumented_frame_is_found(frame: str) -> None:
    """In whatever way it differs."""
    with pytest.raises(UndocumentedFrame):
        check_frame(frame)


@asynccontextmanager
async def serving(*frames: str) -> AsyncIterator[str]:
    """A server that sends these to everybody who comes, and nothing more. Its address."""

    async def tell(connection: ServerConnection) -> None:
        for frame in frames:
            await connection.send(frame)
        await connection.wait_closed()

    async with serve(tell, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


async def test_an_undocumented_frame_that_nobody_reads_fails_the_test() -> None:
    """When the client is closed."""
    async with serving(READY, UNDOCUMENTED["one field more"]) as url:
        with pytest.raises(UndocumentedFrame, match="lunch"):
            async with open_client(url):
                pass


async def test_who_waits_when_an_undocumented_frame_comes_waits_no_longer() -> None:
    """They get an error at once, and the test fails for the true reason even if it expects errors."""

    async def expect_an_error(url: str) -> None:
        async with open_client(url) as client:
            with pytest.raises(ClientError, match="closed"):
                await client.ask("ping", timeout=5)

    async with serving(READY, UNDOCUMENTED["one field more"]) as url:
        started = monotonic()
        with pytest.raises(UndocumentedFrame, match="lunch"):
            await expect_an_error(url)
    assert monotonic() - started < 4


async def test_a_bare_socket_checks_what_it_receives() -> None:
    """For tests that need more control than a client gives."""
    async with serving(READY, UNDOCUMENTED["no such type"]) as url, open_socket(url) as socket:
        assert await socket.recv() == READY
        with pytest.raises(UndocumentedFrame):
            await socket.recv()
