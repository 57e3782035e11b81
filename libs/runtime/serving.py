"""Serves an ASGI app by uvicorn until the process is told to stop, then drains it."""

import asyncio
import contextlib
import errno
import gc
import socket
from collections.abc import Awaitable, Callable, Generator

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from libs.runtime.process import Process, StartupError

log = structlog.get_logger(__name__)

# A peer that acknowledges nothing for so long is dead: an option of the listening socket, which the others inherit.
TCP_USER_TIMEOUT_MS = 20_000
BACKLOG = 2048
# So long a peer may take to say what it wants, after which uvicorn alone would still wait.
REQUEST_SECONDS = 20.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: `Process` has the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _PromptHttp(HttpToolsProtocol):
    """uvicorn's own, for peers that finish their first request (also one to upgrade) in time; others are cut off."""

    _late: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._late = self.loop.call_later(REQUEST_SECONDS, transport.abort)

    def on_message_complete(self) -> None:
        self._late.cancel()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)


async def _nothing_to_drain() -> None:
    return


async def serve(
    app: ASGIApp,
    process: Process,
    *,
    host: str,
    port: int,
    websockets: Callable[..., asyncio.Protocol] | None = None,
    drain: Callable[[], Awaitable[None]] = _nothing_to_drain,
) -> None:
    """Serves `app`; after `process.stop_requested` awaits `drain()`, closes what is open, and returns.

    `websockets` is called for each request to upgrade, as uvicorn calls a protocol class of its own, and makes the
    protocol that takes over. Without it there are none, and the package `websockets` need not be installed.
    `drain` bounds its own time. Raises `StartupError` if the port is taken or the address is not this machine's.
    """
    listener = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_PromptHttp,
            ws=websockets or "none",  # type: ignore[arg-type] # uvicorn calls it and no more
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # A stalled client would otherwise hold up the exit for ever.
            timeout_graceful_shutdown=3,
        )
    )

    async def stop_in_order() -> None:
        await process.stop_requested.wait()
        try:
            await drain()
        finally:
            server.should_exit = True

    stopper = asyncio.create_task(stop_in_order(), name="stop in order")
    # What was made until now (some 100,000 objects, nearly all of them imports) stays: without this the collector would
    # look at all of it now and then, and nobody be served meanwhile.
    gc.freeze()
    log.info("serving", address=f"http://{host}:{listener.getsockname()[1]}")
    try:
        await server.serve(sockets=[listener])
    finally:
        stopper.cancel()
    if stopper.done() and not stopper.cancelled():
        stopper.result()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartupError(f"Port {port} on {host} is taken. Stop what uses it, or choose another port.") from error
        raise StartupError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    listener.setblocking(False)
    return listener
