"""One connection to NATS that heals itself, and says plainly when it cannot.

nats-py 2.16 has defects that this module works round; each one is named where it is met. What is left out on
purpose (`flush`, `drain`, `Msg.respond`, …) stands in tests/architecture/test_left_out.py, with the reasons.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import nats
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from libs.bus.addresses import without_password
from libs.bus.client import Client
from libs.contract.errors import ErrorCode, RequestError

log = structlog.get_logger(__name__)

# A frozen or cut-off server is noticed within 10 s (nats-py's own default is 4 minutes).
PING_SECONDS = 5
# Unsent data on a dead socket would hold up the reconnect for minutes (nats.py issue 671).
TCP_USER_TIMEOUT_MS = 5000
# What may wait while NATS is away; more is refused at once. All of it is idempotent or sequence-checked.
MAX_WAITING_BYTES = 1024**2
# nats-py checks the payload against the server's limit but not the headers; over it, the server hangs up for ever.
HEADER_ROOM_BYTES = 4096
# Beyond these a subscription drops messages: a process this far behind has to be repaired by resending anyway.
MAX_UNREAD_MESSAGES = 65_536
MAX_UNREAD_BYTES = 64 * 1024**2
FINISH_SECONDS = 5.0
FENCE_SECONDS = 2.0


class BusUnavailable(RequestError):
    """NATS is away. The connection comes back by itself; the request has to be repeated."""

    def __init__(self, detail: str = "The message bus is away. Repeat the request as it was in a moment.") -> None:
        super().__init__(ErrorCode.BUS_UNAVAILABLE, detail, retry_after_ms=1000)


class ConnectionLost(Exception):
    """NATS has closed the connection for ever, or nats-py's read loop has died."""


class NobodyListens(RequestError):
    """NATS is there, and says at once that no process listens to this subject."""

    def __init__(self, subject: str) -> None:
        super().__init__(
            ErrorCode.SERVICE_UNAVAILABLE,
            f"No service answers {subject!r} at the moment. Try again in a few seconds.",
            retry_after_ms=1000,
        )


class Bus:
    """What the rest of the code may do with NATS. Made by `connect`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.reconnects = 0
        self.losses = 0
        """How often messages to this process may have been lost: NATS was away, or subscriptions were not read."""
        self.interruptions = 0
        """How often the connection broke. If not since a `publish`, what `ping` says is true of that message."""
        self._leaving = False
        self._quiet_until = 0.0
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    def jetstream(self, *, timeout: float = 5) -> JetStreamContext:
        return self._client.jetstream(timeout=timeout)

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Sends at most once, to whoever listens now. Raises `BusUnavailable` when NATS is away and the buffer full."""
        if not reply and self.send(subject, payload):
            return
        self.check_size(payload)
        try:
            await self._client.publish(subject, payload, reply)
        except nats.errors.Error as error:
            raise BusUnavailable from error

    def send(self, subject: str, payload: bytes) -> bool:
        """`publish` for who has much to say and would rather keep it. False: NATS is away, or does not read."""
        self.check_size(payload)
        return self._client.write(subject, payload)

    async def request(self, subject: str, payload: bytes, *, timeout: float) -> bytes:
        """One answer within `timeout` seconds; or `BusUnavailable`, `NobodyListens`, `RequestError` (unavailable)."""
        if not self.connected:
            raise BusUnavailable
        self.check_size(payload)
        try:
            return await self._client.ask(subject, payload, timeout=timeout)
        except nats.errors.NoRespondersError as error:
            raise NobodyListens(subject) from error
        except nats.errors.TimeoutError as error:
            raise RequestError(
                ErrorCode.SERVICE_UNAVAILABLE,
                f"{subject!r} was not answered within {timeout:g} s. It may still be done: repeat its requestId.",
                retry_after_ms=1000,
            ) from error
        except nats.errors.Error as error:
            raise BusUnavailable from error

    @contextlib.asynccontextmanager
    async def listening(self, subject: str, handler: Callable[[str, bytes], None]) -> AsyncIterator[None]:
        """Calls `handler(subject, payload)` for each message, in order, until the block is left.

        The handler only hands the message on; should it raise, that is logged and the next message comes.
        """
        async with self._subscribed(subject) as subscription:
            self._client.hear(subscription, handler)
            yield

    @contextlib.asynccontextmanager
    async def serving(
        self, subject: str, answer: Callable[[str, bytes], Awaitable[bytes]], *, queue: str = "", at_once: int = 64
    ) -> AsyncIterator[None]:
        """Answers each request with what `answer(subject, payload)` returns, up to `at_once` of them at a time.

        With `queue`, one member of the group gets each request. Leaving the block finishes the requests in hand.
        """
        slots = asyncio.Semaphore(at_once)
        running: set[asyncio.Task[None]] = set()

        async def take(message: Msg) -> None:
            await slots.acquire()
            task = asyncio.create_task(respond(message), name=f"answer {message.subject}")
            running.add(task)
            task.add_done_callback(running.discard)

        async def respond(message: Msg) -> None:
            try:
                payload = await answer(message.subject, message.data)
                await self.publish(message.reply, payload)
            except RequestError as error:
                log.warning("an answer was not sent", subject=message.subject, error=error.message)
            except Exception:
                log.exception("a request failed", subject=message.subject)
            finally:
                slots.release()

        async with self._subscribed(subject, take, queue=queue):
            yield
        if running:
            await asyncio.wait(running, timeout=FINISH_SECONDS)

    @contextlib.asynccontextmanager
    async def _subscribed(
        self, subject: str, take: Callable[[Msg], Awaitable[None]] | None = None, *, queue: str = ""
    ) -> AsyncIterator[Subscription]:
        subscription = await self._client.subscribe(
            subject, queue=queue, cb=take, pending_msgs_limit=MAX_UNREAD_MESSAGES, pending_bytes_limit=MAX_UNREAD_BYTES
        )
        try:
            yield subscription
        finally:
            try:
                with contextlib.suppress(nats.errors.Error, TimeoutError):
                    if self.connected:
                        await self._leave(subscription)
            finally:
                with contextlib.suppress(nats.errors.Error):
                    await subscription.unsubscribe()  # In any case: a reconnect would bring it back to life.

    async def _leave(self, subscription: Subscription) -> None:
        """Ends a subscription after the messages that are already on their way, for which others may wait.

        `Subscription.drain` sends its UNSUB after the PING, so what arrives in between is lost. And its flush, should
        it time out, leaves a late PONG that ends the read loop. A request may time out without harm, and NATS
        answers one that nobody serves at once and in order.
        """
        await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001 (work-round, see above)
        with contextlib.suppress(nats.errors.NoRespondersError):
            await self._client.request(self._client.new_inbox(), timeout=FENCE_SECONDS)
        async with asyncio.timeout(FINISH_SECONDS):
            await subscription._pending_queue.join()  # noqa: SLF001 (as above)

    async def ping(self) -> None:
        """Raises unless NATS answers a JetStream request. (A flush proves nothing: its PING overtakes publishes.)"""
        if not self.connected:
            raise BusUnavailable("not connected to NATS")
        try:
            await self.jetstream(timeout=1.5).account_info()
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"NATS does not answer: {str(error) or type(error).__name__}") from error

    def check_size(self, payload: bytes) -> None:
        """Raises `RequestError(too_large)`."""
        limit = self._client.max_payload - HEADER_ROOM_BYTES
        if len(payload) > limit:
            raise RequestError(ErrorCode.TOO_LARGE, f"A message of {len(payload)} bytes is over the bus limit {limit}.")

    async def until_lost(self) -> None:
        """Waits, usually for ever. Raises `ConnectionLost` when the connection will not come back by itself."""
        await self._lost.wait()
        raise ConnectionLost("the connection to NATS is lost for good; only a new process can mend it")

    async def _on_error(self, error: Exception) -> None:
        # An exception that leaves a callback ends nats-py's read loop without a word: log, never raise.
        if asyncio.current_task() is self._client._reconnection_task and self._writer is not None:  # noqa: SLF001
            self._writer.close()  # A frozen server has accepted it; nats-py forgets it and makes the next one.
        if isinstance(error, nats.errors.SlowConsumerError):
            self.losses += 1
            # Called for each of them, when there is no time for a line each.
            if (now := asyncio.get_running_loop().time()) > self._quiet_until:
                self._quiet_until = now + 1
                log.error("bus messages dropped: this process reads too slowly", subject=error.subject)
        elif self.connected:
            log.warning("bus error", error=str(error) or type(error).__name__)

    async def _on_disconnected(self) -> None:
        # nats-py calls this before it connects again.
        self.interruptions += 1
        self._client.broken()
        if not self._leaving:
            log.warning("NATS is away; reconnecting")

    async def _on_reconnected(self) -> None:
        self.reconnects += 1
        self.losses += 1
        self._set_tcp_timeout()
        log.info("NATS is back", reconnects=self.reconnects)

    async def _on_closed(self) -> None:
        if not self._leaving:
            self._lost.set()

    @property
    def _writer(self) -> asyncio.StreamWriter | None:
        # nats-py offers no way to reach its socket.
        return getattr(self._client._transport, "_io_writer", None)  # noqa: SLF001

    def _set_tcp_timeout(self) -> None:
        option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux only
        if option is not None and self._writer is not None:
            self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, TCP_USER_TIMEOUT_MS)

    async def _watch_read_loop(self) -> None:
        # An unforeseen exception ends nats-py's read loop while `is_connected` stays true.
        while not self._client.is_closed:
            await asyncio.sleep(1)
            reading = self._client._reading_task  # noqa: SLF001 (the only sign of a dead read loop)
            if self._client.is_connected and reading is not None and reading.done():
                log.error("the bus read loop has died")
                self._lost.set()
                return


@contextlib.asynccontextmanager
async def connect(url: str, *, name: str, startup_seconds: float = 10) -> AsyncIterator[Bus]:
    """A connection to the NATS server(s) at `url` (comma-separated), kept alive until the block is left.

    Raises `BusUnavailable` if nobody answers within `startup_seconds`.
    """
    client = Client()
    bus = Bus(client)
    try:
        async with asyncio.timeout(startup_seconds):
            # With max_reconnect_attempts=-1 the first connect would never give up by itself.
            await client.connect(
                servers=url.split(","),
                name=name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,  # type: ignore[arg-type] # seconds; nats-py only sleeps for it
                connect_timeout=2,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                pending_size=MAX_WAITING_BYTES,
                flush_timeout=FINISH_SECONDS,
                error_cb=bus._on_error,  # noqa: SLF001
                disconnected_cb=bus._on_disconnected,  # noqa: SLF001
                reconnected_cb=bus._on_reconnected,  # noqa: SLF001
                closed_cb=bus._on_closed,  # noqa: SLF001
            )
    except (TimeoutError, nats.errors.Error, OSError) as error:
        await client.close()
        where = f"{without_password(url)} within {startup_seconds:g} s"
        raise BusUnavailable(f"NATS does not answer at {where}. Start it, or correct NATS_URL.") from error
    bus._set_tcp_timeout()  # noqa: SLF001
    watchdog = asyncio.create_task(bus._watch_read_loop(), name="bus watchdog")  # noqa: SLF001
    try:
        yield bus
    finally:
        bus._leaving = True  # noqa: SLF001
        watchdog.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await client.close()
