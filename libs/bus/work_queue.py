"""Work that must not be lost: kept on disk by JetStream until one worker has acknowledged it.

gateway ── store ──▶ stream ── pull, one per free slot ──▶ worker
                       ▲  └──── beats while it works ────────┤
                       └─────── done | later ────────────────┘
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from libs.bus.connection import Bus, BusUnavailable
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.streams import LastValueStream, WorkStream

log = structlog.get_logger(__name__)

# A pull is not sent again after a reconnect, so it must be short; and a stop waits for it to end, because
# cancelling one would leave its message waiting for the whole ack_wait.
PULL_SECONDS = 1.0
STORE_ATTEMPT_SECONDS = 2.0
# Longer than an election in a NATS cluster (4 to 9 s measured). Shorter than the stream's duplicate window.
STORE_SECONDS = 12.0
MAX_RETRY_SECONDS = 60.0
ACK_ATTEMPTS = 6
ACK_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 1.0

# https://github.com/nats-io/nats-server/blob/main/server/errors.json
STREAM_FULL = 10077


async def store(
    bus: Bus, stream: WorkStream | LastValueStream, subject: str, payload: bytes, *, dedupe_id: str
) -> None:
    """Returns once the stream has `payload` on disk; what ends otherwise may or may not be stored.

    Retries with the same `dedupe_id`, which the stream stores once. Raises `BusUnavailable`, or
    `RequestError`: `busy` when the queue is full, `too_large`.
    """
    if not bus.connected:
        raise BusUnavailable
    bus.check_size(payload)
    deadline = asyncio.get_running_loop().time() + STORE_SECONDS
    while True:
        try:
            await bus.jetstream().publish(
                subject,
                payload,
                timeout=STORE_ATTEMPT_SECONDS,
                stream=stream.name,
                headers={api.Header.MSG_ID.value: dedupe_id},
            )
        except APIError as error:
            if error.err_code == STREAM_FULL:
                raise RequestError(
                    ErrorCode.BUSY, "Too many requests are waiting. Try again later.", retry_after_ms=5000
                ) from error
            raise BusUnavailable(f"The message bus refused the request ({error.description}).") from error
        except (NoStreamResponseError, nats.errors.Error, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline or not bus.connected:
                raise BusUnavailable from error
            await asyncio.sleep(0.25)
        else:
            return


class WorkItem:
    """One message in a worker's hands. End it with `done` or `later`; a dead worker's comes back by itself."""

    def __init__(self, message: Msg, queue: "WorkQueue") -> None:
        self._message = message
        self._queue = queue
        self.ended = False

    @property
    def payload(self) -> bytes:
        return self._message.data

    @property
    def deliveries(self) -> int:
        return self._message.metadata.num_delivered

    async def done(self) -> None:
        """The work is finished and saved. Waits for the server's word; without it the item merely comes again."""
        self.ended = True
        for _ in range(ACK_ATTEMPTS):
            try:
                await self._message.ack_sync(timeout=ACK_SECONDS)
            except (nats.errors.Error, TimeoutError):
                continue
            return
        log.warning("a finished item was not acknowledged; it will come again")

    async def later(self, seconds: float = 0) -> None:
        """Gives the item back, to whichever worker is free, after `seconds`."""
        self.ended = True
        with contextlib.suppress(nats.errors.Error):  # Not heard: it comes back after ack_wait all the same.
            await self._message.nak(delay=seconds or None)

    async def beat(self) -> None:
        with contextlib.suppress(nats.errors.Error):  # The next beat is soon.
            await self._message.in_progress()

    async def earlier(self) -> AsyncIterator[bytes]:
        """The payloads of the unfinished items stored before this one under the same subject, oldest first."""
        own = self._message.metadata.sequence.stream
        sequence = 1
        while True:
            try:
                stored = await self._queue.jetstream.get_msg(
                    self._queue.stream.name, sequence, subject=self._message.subject, next=True
                )
            except NotFoundError:
                return
            except (nats.errors.Error, TimeoutError) as error:
                raise BusUnavailable from error
            if stored.seq is None or stored.seq >= own:
                return
            yield stored.data or b""
            sequence = stored.seq + 1


WorkHandler = Callable[[WorkItem], Awaitable[None]]


class WorkQueue:
    """Pulls one item per free slot and runs `handler` on each, all slots at once, until told to stop."""

    def __init__(self, bus: Bus, stream: WorkStream, handler: WorkHandler, *, slots: int) -> None:
        self.stream = stream
        self.jetstream: JetStreamContext = bus.jetstream()
        self._bus = bus
        self._handler = handler
        self._slots = asyncio.Semaphore(slots)
        self._running: dict[asyncio.Task[None], WorkItem] = {}
        self._stopping = asyncio.Event()

    @property
    def running(self) -> int:
        return len(self._running)

    async def run(self) -> None:
        """Pulls until `stop`. Any exception that leaves it is a defect or a lost connection: the process should end."""
        await self._until_provisioned()
        pull = await self.jetstream.pull_subscribe_bind(stream=self.stream.name, durable=self.stream.consumer)
        beats = asyncio.create_task(self._beat(), name="work queue beats")
        try:
            while not self._stopping.is_set():
                await self._slots.acquire()
                item = await self._next(pull)
                if item is None:
                    self._slots.release()
                elif self._stopping.is_set():
                    await item.later()
                else:
                    self._start(item)
        finally:
            await self._wait_for_running()
            beats.cancel()

    def stop(self) -> None:
        """No new items; `run` returns when the running ones have ended."""
        self._stopping.set()

    async def ping(self) -> None:
        """Raises unless the stream and its consumer are there."""
        try:
            await self._bus.jetstream(timeout=1.5).consumer_info(self.stream.name, self.stream.consumer)
        except NotFoundError as error:
            raise BusUnavailable(f"stream {self.stream.name} is missing: run the provisioning step") from error
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(f"stream {self.stream.name} does not answer") from error

    async def _until_provisioned(self) -> None:
        """A worker may start beside the provisioning step, or before it; `ping` tells readiness meanwhile."""
        pause = 0.05
        while not self._stopping.is_set():
            try:
                await self.ping()
            except BusUnavailable as error:
                if pause >= LONGEST_PAUSE_SECONDS:
                    log.warning("no work can be taken yet", reason=error.message)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    async def _next(self, pull: JetStreamContext.PullSubscription) -> WorkItem | None:
        try:
            (message,) = await pull.fetch(1, timeout=PULL_SECONDS)
        except (nats.errors.TimeoutError, TimeoutError):
            return None  # Nothing to do, or a reconnect in between.
        except nats.errors.ConnectionClosedError:
            raise
        except nats.errors.Error as error:
            if not self._stopping.is_set():
                log.warning("cannot pull work", stream=self.stream.name, error=str(error))
                await asyncio.sleep(1)
            return None
        return WorkItem(message, self)

    def _start(self, item: WorkItem) -> None:
        task = asyncio.create_task(self._handle(item), name=f"work {self.stream.name}")
        self._running[task] = item
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._slots.release()

    async def _handle(self, item: WorkItem) -> None:
        try:
            await self._handler(item)
        except Exception:
            log.exception("work failed", stream=self.stream.name, deliveries=item.deliveries)
        finally:
            if not item.ended:
                # Not the handler's decision: it failed, or it is being cancelled.
                await item.later(min(2.0 ** min(item.deliveries, 6), MAX_RETRY_SECONDS))

    async def _beat(self) -> None:
        # Three beats in one ack_wait: two may be lost before another worker is given the item.
        while True:
            await asyncio.sleep(self.stream.ack_wait_seconds / 3)
            for item in list(self._running.values()):
                if not item.ended:
                    await item.beat()

    async def _wait_for_running(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
