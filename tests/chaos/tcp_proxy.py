"""A link between two processes that can be cut, frozen and slowed down.

service ═══▶ Proxy ═══▶ server        one Proxy for each server that the service may connect to; a Link is all of them
"""

import asyncio
import contextlib
from collections.abc import Callable

# Enough for the link not to be the bottleneck, little enough that a frozen one soon stops the sender.
CHUNK_BYTES = 64 * 1024


class Link:
    """All connections that one process makes to one kind of server."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.proxies: list[Proxy] = []
        self.delay_seconds = 0.0
        self.refusing = False
        self.traps: dict[bytes, Callable[[], None]] = {}
        """Called before these words go out; they must fit into one segment."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def open(self, port: int, target_port: int) -> "Proxy":
        """Another way through, from `port` to `target_port` on the loopback interface."""
        proxy = Proxy(self, target_port)
        await proxy.listen(port)
        self.proxies.append(proxy)
        return proxy

    def cut(self) -> None:
        """Every connection breaks, and new ones break at once until `mend`."""
        self.refusing = True
        self.break_all()

    def break_all(self) -> None:
        """Every connection breaks; new ones are welcome."""
        for proxy in self.proxies:
            proxy.break_all()

    def ports_behind(self) -> set[int]:
        """Where the targets see the connections come from."""
        return {port for proxy in self.proxies for port in proxy.ports_behind}

    def freeze(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._flowing.clear()

    def mend(self) -> None:
        """As good as new."""
        self.refusing = False
        self.delay_seconds = 0.0
        self._flowing.set()

    async def flowing(self) -> None:
        """Waits as long as the link makes its bytes wait."""
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        await self._flowing.wait()

    def inspect(self, data: bytes) -> None:
        """Springs the traps of what goes out."""
        for word, spring in list(self.traps.items()):
            if word in data:
                spring()

    async def close(self) -> None:
        self.mend()
        for proxy in self.proxies:
            await proxy.close()


class Proxy:
    """Listens on one port and forwards to another. Made by `Link.open`."""

    def __init__(self, link: Link, target_port: int) -> None:
        self.port = 0
        self._link = link
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.ports_behind: set[int] = set()

    async def listen(self, port: int) -> None:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    def break_all(self) -> None:
        for connection in self._connections:
            connection.cancel()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.break_all()
        if self._connections:
            await asyncio.wait(self._connections, timeout=5)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's streams report the cancellation of theirs as an error.
        connection = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        await asyncio.wait([connection])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers, behind = [writer], 0
        try:
            if self._link.refusing:
                return
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(target_writer)
            behind = target_writer.get_extra_info("sockname")[1]
            self.ports_behind.add(behind)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, target_writer, out=True))
                both.create_task(self._forward(target_reader, writer, out=False))
        except* OSError:
            pass  # cut, or the target is away: either way this connection has ended
        finally:
            self.ports_behind.discard(behind)
            for one in writers:
                one.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, out: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if out:
                self._link.inspect(data)
            await self._link.flowing()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
