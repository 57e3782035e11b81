"""The scripted model server: raw sockets, so that a script decides about every byte.

    client ── POST /v1/chat/completions {"model": NAME} ──▶ Connection ──▶ SCRIPTS[NAME] ── bytes ──▶ client

`GET /scripted/requests` tells what was asked and how it ended; `POST /scripted/release` lets held answers go on.
A client that goes away is noticed at once, whatever the script is doing.
"""

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Self, cast

import msgspec

from tests.scripted_model import catalogs, waiting, wire
from tests.scripted_model.call import Call, HangUp, Reset, Seen
from tests.scripted_model.catalogs import Flavour
from tests.scripted_model.complaints import unknown_model
from tests.scripted_model.scripts import find

_REMEMBERED_REQUESTS = 20_000


class ScriptedModel:
    """A running server and what it has seen."""

    def __init__(self, flavour: Flavour = "plain", also: list[str] | None = None) -> None:
        self.flavour = flavour
        self.also = also or []
        self.seen: deque[Seen] = deque(maxlen=_REMEMBERED_REQUESTS)
        self.listed = 0
        self.released = asyncio.Event()
        self.connections: set[Connection] = set()
        self.port = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, *, port: int = 0, flavour: Flavour = "plain", also: list[str] | None = None
    ) -> AsyncIterator[Self]:
        """Listens on 127.0.0.1 until the context ends; port 0 takes a free one."""
        model = cls(flavour, also)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(model), "127.0.0.1", port)
        model.port = server.sockets[0].getsockname()[1]
        try:
            yield model
        finally:
            server.close()
            tasks = [connection.abort() for connection in model.connections]
            await asyncio.gather(*filter(None, tasks), return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        """Lets every held and stalled answer go on; those asked later are held again."""
        self.released.set()
        self.released = asyncio.Event()

    async def until(self, condition: Callable[[Self], object], seconds: float = 1.0) -> None:
        """Waits until the condition holds. Raises `TimeoutError`."""

        async def holds() -> object:
            return condition(self)

        await waiting.until(holds, seconds)


class Connection(asyncio.Protocol):
    """One client connection: reads requests one after the other, and plays a script for each."""

    def __init__(self, model: ScriptedModel) -> None:
        self._model = model
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.Task[None] | None = None
        self._seen: Seen | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)
        self._model.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._model.connections.discard(self)
        if self._seen is not None and self._seen.finished is None:
            self._seen.closed_by_client = True
            self._seen.finished = time.time()
        self.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next_request()

    def abort(self) -> asyncio.Task[None] | None:
        """Stops whatever runs here → the task that ends."""
        if self._transport is not None:
            self._transport.abort()
        if self._answering is not None:
            self._answering.cancel()
        return self._answering

    def _next_request(self) -> None:
        if self._answering is not None and not self._answering.done():
            return
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(rest) < size:
            return
        self._buffer = rest[size:]
        self._answering = asyncio.create_task(self._answer(method, path, headers, rest[:size]))

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        assert self._transport is not None
        if (method, path) == ("POST", "/v1/chat/completions"):
            await self._play(headers, msgspec.json.decode(body))
        else:
            self._transport.write(self._control(method, path))
        if headers.get("connection", "").lower() == "close":
            self._transport.close()
        self._answering = None
        self._next_request()

    async def _play(self, headers: dict[str, str], asked: dict[str, Any]) -> None:
        transport = self._transport
        assert transport is not None
        seen = Seen(
            number=len(self._model.seen) + 1,
            model=asked["model"],
            messages=asked["messages"],
            body=asked,
            authorization=headers.get("authorization"),
            started=time.time(),
        )
        self._model.seen.append(seen)
        self._seen = seen
        script = find(seen.model)
        if script is None:
            transport.write(wire.json_body(404, unknown_model(seen.model)))
        else:
            try:
                async for data in script(Call(seen, self._model.released)):
                    transport.write(data)
                    await self._writable.wait()
                    await asyncio.sleep(0)  # a script that never waits must not hide the client's close
            except HangUp:
                transport.close()
            except Reset:
                _send_reset(transport)
        if seen.finished is None:
            seen.finished = time.time()

    def _control(self, method: str, path: str) -> bytes:
        model = self._model
        match method, path:
            case "GET", "/scripted/requests":
                return wire.body(200, msgspec.json.encode(list(model.seen)))
            case "POST", "/scripted/release":
                model.release()
                return wire.json_body(200, {"released": True})
            case "GET", _:
                model.listed += path.endswith("/models")
                return catalogs.get(model.flavour, path, model.also)
        return catalogs.wrong_path(model.flavour, method, path)


def _send_reset(transport: asyncio.Transport) -> None:
    # Zero linger makes the close a reset.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
