"""What leaves a gateway past ASGI is WebSocket all the same: a client with a strict parser reads every length."""

import asyncio
import contextlib

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from libs.bus.connection import Bus
from libs.contract import frames, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.runtime import serving
from libs.runtime.process import Process
from services.gateway.sockets import WebSocketProtocol
from tests.brokers import free_port
from tests.clients import open_socket
from tests.processes import ServiceProcess
from tests.waiting import until_answer

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

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


async def test_who_answers_no_ping_is_told_that_it_missed_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 4103, as the protocol has it: it may come back. 1011 would blame the server."""
    monkeypatch.setattr(serving, "WEBSOCKET_PING_SECONDS", 0.1)

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()

    process, port = Process(), free_port()
    app = Starlette(routes=[WebSocketRoute("/ws", listen)])
    serve = serving.serve(app, process, host="127.0.0.1", port=port, websockets=WebSocketProtocol)
    running = asyncio.create_task(serve)
    await until_answer(lambda: listened_to(port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    heard = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    process.stop_requested.set()
    await running
    # The last frame: close, with its length, code and reason.
    reason = b"heartbeat missed"
    assert heard.endswith(bytes((0x88, 2 + len(reason))) + (4103).to_bytes(2) + reason)


async def listened_to(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
