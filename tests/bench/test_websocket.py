"""The benchmark's own WebSocket client, beside one that is known to be right."""

import asyncio

from websockets.asyncio.server import ServerConnection, serve

from bench.crowd import Crowd
from bench.websocket import connected

SECONDS = 10.0


async def test_frames_of_every_size_are_heard_whole() -> None:
    """Their size is told in three ways, and a large one comes in many reads."""
    sent = [b"a" * size for size in (0, 125, 126, 65_535, 65_536, 300_000)]
    heard: list[bytes] = []
    everything = asyncio.Event()

    def hear(text: bytes, _: int) -> None:
        heard.append(text)
        if len(heard) == len(sent):
            everything.set()

    async def speak(socket: ServerConnection) -> None:
        for text in sent:
            await socket.send(text.decode())
        await socket.wait_closed()

    async with serve(speak, "127.0.0.1", 0, compression=None) as server:
        client = await connected(next(iter(server.sockets)).getsockname()[1], "/", hear)
        async with asyncio.timeout(SECONDS):
            await everything.wait()
        client.drop()
    assert heard == sent


async def test_it_answers_pings_and_its_frames_are_understood() -> None:
    """Otherwise a server would close its connection while it is measured."""

    async def ping_first(socket: ServerConnection) -> None:
        await (await socket.ping())
        await socket.send(await socket.recv())

    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with serve(ping_first, "127.0.0.1", 0, compression=None) as server:
        client = await connected(
            next(iter(server.sockets)).getsockname()[1], "/", lambda text, _: heard.set_result(text)
        )
        client.send_frame("ping", {}, "7")
        async with asyncio.timeout(SECONDS):
            assert await heard == b'{"type":"ping","data":{},"id":"7"}'
        assert client.pings == 1
        client.drop()


async def test_a_crowd_has_heard_when_each_of_them_has() -> None:
    """And only what was expected counts."""

    async def speak(socket: ServerConnection) -> None:
        async for text in socket:
            await socket.send("something else")
            await socket.send(text)

    async with serve(speak, "127.0.0.1", 0, compression=None) as server:
        crowd = Crowd(next(iter(server.sockets)).getsockname()[1], "/")
        await crowd.grow(3)
        crowd.expect(b"now")
        for socket in crowd.sockets:
            socket.send(b"now!")
        arrived = await crowd.heard(SECONDS)
        assert len(arrived) == 3
        assert all(arrived)
        assert crowd.lost() == 0
        crowd.leave()
