"""The floor of three processes: bytes from the model server over NATS to the client, and nothing else done or promised.

client ── request ──▶ gateway ── PUB ask.<client> ──▶ NATS ──▶ worker ── request ──▶ model server
client ◀── bytes ──── gateway ◀── reply.<client> ──── NATS ◀── PUB ─── worker ◀── SSE, as it comes ──╯

No frame is made or read, nothing is counted, stored or logged; whoever is woken writes what it was woken for.
"""

import argparse
import asyncio
import itertools
from collections.abc import Callable
from typing import cast

import uvloop

Take = Callable[[bytes, bytes], None]


class Socket(asyncio.Protocol):
    """Hands on what it reads."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)


class Nats:
    """One subscription, and publishing: `take(last word of the subject, payload)`."""

    def __init__(self, subscribed: bytes, take: Take) -> None:
        self._subscribed = subscribed
        self._take = take
        self._rest = b""
        self._socket = Socket(self._read)

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self._socket, "127.0.0.1", port)
        self._socket.write(b'CONNECT {"verbose":false}\r\nSUB %b.* 1\r\n' % self._subscribed)

    def publish(self, subject: bytes, payload: bytes) -> None:
        self._socket.write(b"PUB %b %d\r\n%b\r\n" % (subject, len(payload), payload))

    def _read(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            line = data[at:end]
            if line.startswith(b"MSG "):
                _, subject, _, size = line.split(b" ")
                after = end + 2 + int(size)
                if len(data) < after + 2:
                    break
                self._take(subject.rpartition(b".")[2], data[end + 2 : after])
                at = after + 2
            else:
                if line == b"PING":
                    self._socket.write(b"PONG\r\n")
                at = end + 2
        self._rest = data[at:]


async def gateway(nats_port: int, port: int) -> None:
    """Numbers its clients."""
    clients: dict[bytes, Socket] = {}
    numbers = itertools.count()
    nats = Nats(b"reply", lambda client, data: clients[client].write(data))
    await nats.connect(nats_port)

    def client() -> Socket:
        number = b"%d" % next(numbers)
        clients[number] = Socket(lambda data: nats.publish(b"ask." + number, data))
        return clients[number]

    await (await asyncio.get_running_loop().create_server(client, "127.0.0.1", port)).serve_forever()


async def worker(nats_port: int, model_port: int) -> None:
    """A connection to the model server for each request."""
    asking: set[asyncio.Task[None]] = set()

    async def ask(client: bytes, request: bytes) -> None:
        model = Socket(lambda data: nats.publish(b"reply." + client, data))
        await asyncio.get_running_loop().create_connection(lambda: model, "127.0.0.1", model_port)
        model.write(request)

    def start(client: bytes, request: bytes) -> None:
        task = asyncio.create_task(ask(client, request))
        asking.add(task)
        task.add_done_callback(asking.discard)

    nats = Nats(b"ask", start)
    await nats.connect(nats_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["gateway", "worker"])
    parser.add_argument("--nats", type=int, required=True)
    parser.add_argument("--port", type=int, required=True, help="the gateway's own, or the model server's")
    chosen = parser.parse_args()
    uvloop.run((gateway if chosen.part == "gateway" else worker)(chosen.nats, chosen.port))
