"""One WebSocket as a client holds it: frames out, frames in, nothing remembered; and how a client gets a new one."""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.clients import CheckedSocket, open_socket

Frame = dict[str, Any]

OPEN_SECONDS = 5.0
SEND_SECONDS = 5.0
RECONNECT_SECONDS = (0.1, 1.0)
# What a slow reader's system takes before its server notices.
SMALL_BUFFER_BYTES = 16 * 1024


class Gone(Exception):
    """The connection has ended; `code` is None when nobody said goodbye."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Wire:
    """Made by `opened` or `Wires`."""

    def __init__(self, ws: CheckedSocket, gateway: str) -> None:
        self.gateway = gateway
        self._ws = ws

    async def send(self, frame_type: str, data: Frame | None = None, *, frame_id: str | None = None) -> None:
        """Raises `Gone`."""
        frame: Frame = {"type": frame_type, "data": data or {}}
        if frame_id is not None:
            frame["id"] = frame_id
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._ws.send(json.dumps(frame, ensure_ascii=False))
        except (ConnectionClosed, TimeoutError) as error:
            raise Gone(self._ws.close_code) from error

    async def frame(self, seconds: float) -> Frame:
        """The next frame. Raises `Gone`, or `TimeoutError` when nothing comes in time."""
        try:
            async with asyncio.timeout(seconds):
                text = await self._ws.recv()
        except ConnectionClosed as error:
            raise Gone(self._ws.close_code) from error
        frame: Frame = json.loads(text)
        return frame

    async def answer(self, frame_id: str, seconds: float) -> Frame:
        """The next frame with this id; what comes before it is dropped. Raises as `frame` does."""
        async with asyncio.timeout(seconds):
            while (frame := await self.frame(seconds)).get("id") != frame_id:
                pass
        return frame

    async def close(self) -> None:
        # A peer that is frozen says no goodbye.
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(1):
                await self._ws.close()
        self.drop()

    def drop(self) -> None:
        """As a client does that loses its network: without a word."""
        self._ws.transport.abort()


@contextlib.asynccontextmanager
async def opened(url: str, gateway: str = "", *, slow: bool = False) -> AsyncIterator[Wire]:
    """Has seen `session:ready`. Raises `Gone`. `slow`: takes in as little as possible that is not asked for."""
    wire = await _open(url, gateway, slow=slow)
    try:
        yield wire
    finally:
        await wire.close()


class Wires:
    """A client's way to the system: any gateway, again and again until one answers."""

    def __init__(self, sockets: dict[str, str], chance: random.Random) -> None:
        self._sockets = sockets
        self._chance = chance
        self._wire: Wire | None = None
        self.epochs: dict[tuple[int, str], int] = {}
        """Answer and the word under which it was asked for → the highest epoch that this connection has shown."""

    async def get(self) -> Wire:
        """The open connection, or a new one to a gateway chosen by chance. Never gives up."""
        while self._wire is None:
            names: Sequence[str] = sorted(self._sockets)
            gateway = self._chance.choice(names)
            try:
                self._wire = await _open(self._sockets[gateway], gateway)
            except Gone:
                await asyncio.sleep(self._chance.uniform(*RECONNECT_SECONDS))
        return self._wire

    @contextlib.asynccontextmanager
    async def closed_at_last(self) -> AsyncIterator[None]:
        """Whatever happens in the block, no connection is left open."""
        try:
            yield
        finally:
            await self.lost()

    async def lost(self) -> None:
        """The connection is of no use any more."""
        self.epochs.clear()
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()

    def drop(self) -> None:
        """Loses it without a word."""
        self.epochs.clear()
        if self._wire is not None:
            self._wire.drop()
            self._wire = None


async def _open(url: str, gateway: str, *, slow: bool = False) -> Wire:
    host, port = url.removeprefix("ws://").removesuffix("/ws").split(":")
    raw = None
    try:
        if slow:
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
            raw.setblocking(False)
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(raw, (host, int(port))), OPEN_SECONDS)
        ws = await open_socket(
            url,
            sock=raw,
            open_timeout=OPEN_SECONDS,
            close_timeout=1,
            max_queue=1 if slow else 4096,
            compression=None,
            proxy=None,
        )
    except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, InvalidMessage) as error:
        if raw is not None:
            raw.close()
        raise Gone(None) from error
    assert isinstance(ws, CheckedSocket)
    wire = Wire(ws, gateway)
    try:
        await wire.frame(OPEN_SECONDS)
    except (TimeoutError, Gone) as error:
        wire.drop()
        raise Gone(None) from error
    return wire
