"""The gateway's own sockets are WebSocket all the same, whatever a client sends; a strict one reads all they say."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
from starlette.applications import Starlette
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from libs.bus.connection import Bus
from libs.contract import frames, streams, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.runtime import serving
from services.gateway import sockets
from services.gateway.heartbeats import Heartbeats
from services.gateway.sockets import Listener, Socket
from tests import on_the_bus
from tests.clients import CheckedSocket, open_socket
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer

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
        on_the_bus.serving(shared_bus, subjects.chat_query("history"), answer),
        open_socket(shared_gateway.ws) as socket,
        asyncio.timeout(10),
    ):
        await socket.recv()
        await socket.send('{"type":"chat:history"}')
        assert [await socket.recv(), await socket.recv()] == [frame.decode(), '{"type":"pong"}']


async def test_a_message_in_fragments_is_one_frame_also_with_a_ping_between_them(
    shared_gateway: ServiceProcess,
) -> None:
    """RFC 6455, 5.4; the ping is answered with what it says."""
    async with open_socket(shared_gateway.ws) as socket, asyncio.timeout(10):
        await socket.recv()
        parts = [b'{"type":', b'"ping","id":"', "é".encode()[:1], "é".encode()[1:] + b'"}']
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.TEXT
            socket.transport.write(Frame(opcode, part, fin=number == len(parts) - 1).serialize(mask=True))
            await (await socket.ping(b"x"))
        assert await socket.recv() == '{"type":"pong","id":"é"}'
        await socket.send([b"\x00", b"\x01"])
        assert "Binary frames are not understood" in await socket.recv()


@pytest.mark.parametrize(
    ("frame", "masked", "code"),
    [
        (Frame(Opcode.TEXT, b"\xff"), True, 1007),
        (Frame(Opcode.TEXT, b"{}"), False, 1002),
        (Frame(Opcode.CONT, b"{}"), True, 1002),
        (Frame(Opcode.TEXT, b"x" * (1024**2 + 1)), True, 1009),
        (Frame(Opcode.CLOSE, (4321).to_bytes(2)), True, 4321),
    ],
)
async def test_what_is_no_frame_closes_the_socket_and_says_why(
    frame: Frame, masked: bool, code: int, shared_gateway: ServiceProcess
) -> None:
    """No text; not masked; a continuation of nothing; too large to read. A goodbye is answered with its own code."""
    async with open_socket(shared_gateway.ws) as socket, asyncio.timeout(10):
        await socket.recv()
        socket.transport.write(frame.serialize(mask=masked))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    await until_answer(lambda: asyncio.to_thread(lambda: shared_gateway.metric("gateway_connections") == 0))


async def test_what_a_client_sent_before_it_left_is_carried_out(chat_bus: Bus, shared_gateway: ServiceProcess) -> None:
    """Frames and goodbye in one piece: every request is stored, in order."""
    async with open_socket(shared_gateway.ws) as socket:
        await socket.recv()
        for number in range(20):
            socket.protocol.send_text(f'{{"type":"chat:send","data":{{"message":"{number}"}}}}'.encode())
        socket.protocol.send_close(1000)
        socket.transport.write(b"".join(socket.protocol.data_to_send()))
        stream = chat_bus.jetstream()

        async def stored() -> bool:
            return (await stream.stream_info(streams.CHAT.name)).state.messages == 20

        await until_answer(stored)
    told = [await stream.get_msg(streams.CHAT.name, seq) for seq in range(1, 21)]
    requests = [msgspec.json.decode(one.data or b"", type=ClientRequest) for one in told]
    assert [msgspec.json.decode(request.data)["message"] for request in requests] == [str(n) for n in range(20)]


@pytest.mark.parametrize("path", ["/", "/ws/", "/wss", "/healthz"])
async def test_there_is_one_place_for_sockets(path: str, shared_gateway: ServiceProcess) -> None:
    """Elsewhere HTTP 403. A query is nobody's business."""
    place = shared_gateway.ws.removesuffix("/ws")
    with pytest.raises(InvalidStatus, match="403"):
        async with open_socket(place + path):
            pass
    async with open_socket(shared_gateway.ws + "?a=1") as socket:
        await socket.recv()


async def test_who_answers_no_ping_is_told_that_it_missed_the_heartbeat() -> None:
    """With 4103, as the protocol has it: it may come back. 1011 would blame the server."""
    heartbeats = Heartbeats(seconds=0.4)
    server = await asyncio.get_running_loop().create_server(
        lambda: Socket(Hall(), heartbeats, server_state=ServerState()), "127.0.0.1"
    )
    beating = asyncio.create_task(heartbeats.run())
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(HANDSHAKE)
    heard = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    beating.cancel()
    server.close()
    # The last frame: close, with its length, code and reason.
    reason = b"heartbeat missed"
    assert heard.endswith(bytes((0x88, 2 + len(reason))) + (4103).to_bytes(2) + reason)


class Hall:
    """Lets everybody in, and remembers what it hears."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.heard: list[str | bytes] = []
        self.left = False
        self.uvicorn = ServerState()

    def welcome(self, socket: Socket) -> Listener:
        self.sockets.append(socket)
        return self

    def hear(self, frame: str | bytes) -> None:
        self.heard.append(frame)

    def go_on(self) -> None: ...

    def leave(self) -> None:
        self.left = True


@asynccontextmanager
async def entered() -> AsyncIterator[tuple[Hall, Socket, CheckedSocket]]:
    """A client, and its socket in this process."""
    hall = Hall()
    server = await asyncio.get_running_loop().create_server(
        lambda: Socket(hall, Heartbeats(), server_state=hall.uvicorn), "127.0.0.1"
    )
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(20), open_socket(f"ws://127.0.0.1:{port}/ws", max_queue=None) as client:
        assert isinstance(client, CheckedSocket)
        yield hall, hall.sockets[0], client
        client.transport.abort()
    server.close()


async def stuff(socket: Socket, client: CheckedSocket) -> None:
    """The client stops reading, and the kernel takes nothing more for it."""
    client.transport.pause_reading()
    while socket.write(b"x" * 60_000):  # noqa: ASYNC110 (it ends when nobody reads)
        await asyncio.sleep(0)


async def test_the_last_ping_of_a_client_that_reads_slowly_is_answered_when_it_reads_again() -> None:
    """Many clients take a server for dead that leaves a ping without an answer. The last pong is for all (5.5.3)."""
    async with entered() as (hall, socket, client):
        await stuff(socket, client)
        answered = [await client.ping(str(number)) for number in range(3)]
        await client.send("behind the pings")
        await until(lambda: hall.heard)
        client.transport.resume_reading()
        await asyncio.wait_for(asyncio.gather(*answered), 5)


async def test_after_our_goodbye_a_client_that_does_not_read_costs_nothing_more() -> None:
    """Its pings are not answered any more: for 30 s nobody would read that."""
    async with entered() as (hall, socket, client):
        await stuff(socket, client)
        socket.close(4102)
        before = socket._transport.get_write_buffer_size()
        client.transport.write(Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 5000)
        await client.send("behind the pings")
        await until(lambda: hall.heard)
        assert socket._transport.get_write_buffer_size() <= before


async def test_a_message_in_tiny_pieces_costs_its_size() -> None:
    """Two bytes each: as objects of their own they would cost twenty times as much."""
    piece = Frame(Opcode.CONT, b"ab", fin=False).serialize(mask=True)
    async with entered() as (hall, _, client):
        client.transport.write(Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True))
        await (await client.ping())
        tracemalloc.start()
        for _ in range(20):
            client.transport.write(piece * 5000)
            await (await client.ping())
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        client.transport.write(Frame(Opcode.CONT, b"c").serialize(mask=True))
        await until(lambda: hall.heard)
    assert hall.heard == ["ab" * 100_000 + "c"]
    print(f"{held:,} bytes held for 200,000")  # noqa: T201
    assert held < 1_000_000


async def test_who_is_not_read_has_not_missed_a_heartbeat() -> None:
    """Its answer waits in our own kernel, while a frame of it is in hand. When it is read again it has a new chance."""
    async with entered() as (_, socket, client):
        socket.beat()
        socket.pause()
        for _ in range(3):
            socket.beat()
        socket.resume()
        socket.beat()
        await (await client.ping())
        assert not socket._unanswered


async def test_who_has_said_its_last_without_a_goodbye_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that leaves something unread: it is cut off, and nothing of it stays."""
    monkeypatch.setattr(sockets, "CLOSE_SECONDS", 0.2)
    async with entered() as (hall, socket, client):
        await stuff(socket, client)
        client.transport.write_eof()
        await until(lambda: hall.left, seconds=5)
        await until(lambda: not hall.uvicorn.connections, seconds=5)


async def test_a_socket_outlives_the_time_that_a_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request to upgrade was complete: what uvicorn hands over is not cut off."""
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 0.1)
    hall = Hall()
    sockets_of_ours = partial(Socket, hall, Heartbeats())
    config = Config(Starlette(), ws=sockets_of_ours, log_config=None)  # type: ignore[arg-type] # as `serve` does
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: serving._PromptHttp(config, hall.uvicorn, {}), "127.0.0.1"
    )
    async with open_socket(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws") as client:
        await asyncio.sleep(0.3)
        await (await client.ping())
    server.close()
