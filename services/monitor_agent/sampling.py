"""When samples are taken, and where they go.

timer, or a Demand of a gateway ──▶ Sampling ── sample ──▶ Sampler (in a thread of its own)
                                       ├── finished `metrics` frame ──▶ monitoring.v1.host.<host>.sampled
                                       └── History

A sample promises the next one within its `intervalSeconds`: demands can only bring that forward.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from libs.bus.connection import Bus, BusUnavailable
from libs.bus.last_values import last_value
from libs.contract import frames, monitoring, streams, subjects
from libs.contract.monitoring import Demand, Metrics
from services.monitor_agent import metrics
from services.monitor_agent.demands import Demands
from services.monitor_agent.history import History

log = structlog.get_logger(__name__)

# The first sample tells differences too: it needs a moment to compare with.
FIRST_SAMPLE_SECONDS = 0.5
# The agent may start beside the provisioning step.
PROVISIONING_SECONDS = 15.0
ASK_AGAIN_SECONDS = 0.1

TakeSample = Callable[[int], Awaitable[Metrics]]

_demands = msgspec.json.Decoder(Demand)


class Sampling:
    """The one loop that samples; whoever wants samples faster tells it so."""

    def __init__(self, bus: Bus, take_sample: TakeSample, history: History, *, host: str, demands: Demands) -> None:
        self._bus = bus
        self._take_sample = take_sample
        self._history = history
        self._subject = subjects.monitoring_sampled(host)
        self._demands = demands
        self._demanded = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._taken_at = self._loop.time()
        self._promised = demands.interval(self._taken_at)

    def hear_demand(self, subject: str, payload: bytes) -> None:
        """A gateway says how often somebody wants to see this host, or every host."""
        try:
            wanted = _demands.decode(payload)
        except msgspec.DecodeError as error:
            log.warning("a demand was not understood", subject=subject, error=str(error))
            return
        self._demands.add(wanted.interval_seconds, self._loop.time())
        self._demanded.set()

    async def run(self) -> None:
        """Samples for ever. A sample that fails is logged, and the next one is tried."""
        await asyncio.gather(self._until_kept(), asyncio.sleep(FIRST_SAMPLE_SECONDS))
        while True:
            started = self._loop.time()
            interval = self._demands.interval(started)
            try:
                await self._sample(interval, started)
            except Exception:
                metrics.SAMPLES.labels("failed").inc()
                log.exception("a sample failed")
            await self._wait(started, interval)

    async def ping(self) -> None:
        """Raises when samples have stopped coming: some device does not answer."""
        age = self._loop.time() - self._taken_at
        if age > monitoring.stale_after(self._promised):
            raise TimeoutError(f"the last sample was taken {age:.0f} s ago")

    async def _until_kept(self) -> None:
        """Until the stream is there that keeps the last sample, so that it has the first one; or not for ever."""
        deadline = self._loop.time() + PROVISIONING_SECONDS
        while True:
            try:
                await last_value(self._bus, streams.MONITORING, self._subject)
            except BusUnavailable as error:
                if self._loop.time() > deadline:
                    log.warning("samples are not kept for who comes late", reason=error.message)
                    return
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            else:
                return

    async def _sample(self, interval: int, started: float) -> None:
        sample = await self._take_sample(interval)
        metrics.SAMPLE_SECONDS.observe(self._loop.time() - started)
        metrics.INTERVAL_SECONDS.set(interval)
        self._taken_at = self._loop.time()
        self._promised = interval
        self._history.keep(sample, started)
        await self._publish(frames.encode("metrics", sample))

    async def _publish(self, frame: bytes) -> None:
        # What would wait in a buffer while NATS is away would come in a heap, and too late.
        if not self._bus.connected:
            metrics.SAMPLES.labels("unpublished").inc()
            return
        try:
            await self._bus.publish(self._subject, frame)
        except BusUnavailable as error:
            metrics.SAMPLES.labels("unpublished").inc()
            log.warning("a sample was not published", error=error.message)
        else:
            metrics.SAMPLES.labels("published").inc()

    async def _wait(self, started: float, interval: int) -> None:
        """Until the next sample is due."""
        due = started + interval
        while (left := due - self._loop.time()) > 0:
            self._demanded.clear()
            try:
                async with asyncio.timeout(left):
                    await self._demanded.wait()
            except TimeoutError:
                return
            due = min(due, started + self._demands.interval(self._loop.time()))
