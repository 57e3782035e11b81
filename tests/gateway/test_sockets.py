"""What leaves a gateway past ASGI is WebSocket all the same: a client with a strict parser reads every length."""

import asyncio

import msgspec
import pytest

from libs.bus.connection import Bus
from libs.contract import frames, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from tests.clients import open_socket
from tests.processes import ServiceProcess

SHORTEST = len(frames.encode_error(RequestError(ErrorCode.INTERNAL, "")))


@pytest.mark.parametrize("length", [SHORTEST, 125, 126, 127, 65535, 65536, 300_000])
async def test_a_frame_of_any_length_arrives_whole(
    length: int, shared_bus: Bus, shared_gateway: ServiceProcess
) -> None:
    """The length has one, two or eight bytes (RFC 6455, 5.2); the next frame shows that this one ended in its place."""
    frame = frames.encode_error(RequestError(ErrorCode.INTERNAL, "x" * (length - SHORTEST)))

    async def answer(_: str, payload: bytes) -> bytes:
        await shared_bus.publish(msgspec.json.decode(payload, type=ClientRequest).reply, frame)
        return frames.encode("pong")

    assert len(frame) == length
    async with (
        shared_bus.serving(subjects.chat_query("history"), answer),
        open_socket(shared_gateway.ws) as socket,
        asyncio.timeout(10),
    ):
        await socket.recv()
        await socket.send('{"type":"chat:history"}')
        assert [await socket.recv(), await socket.recv()] == [frame.decode(), '{"type":"pong"}']
