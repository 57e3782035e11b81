"""The last two hours of every host, kept in Valkey as one list for each host: one point every 10 s.

sampling ── keep ──▶ waiting points (an hour at most) ── write_forever ──▶ Valkey ── points ──▶ whichever agent is asked

Without Valkey sampling goes on, and what was sampled meanwhile is written when it is back.
"""

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.contract import subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.monitoring import HISTORY_INTERVAL_SECONDS, HISTORY_MINUTES, HistoryPoint, Metrics

log = structlog.get_logger(__name__)

MOST_POINTS = HISTORY_MINUTES * 60 // HISTORY_INTERVAL_SECONDS
MOST_WAITING = 3600 // HISTORY_INTERVAL_SECONDS
# A sample that comes a moment early is kept all the same; one of those asked for every second is not.
KEEP_EVERY_SECONDS = HISTORY_INTERVAL_SECONDS - 0.5
# What nobody adds to any more is forgotten.
EXPIRE_SECONDS = 24 * 3600
RETRY_SECONDS = 2.0
VALKEY_SECONDS = 1.0

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(HistoryPoint)


class History:
    """Written for one host, read for all."""

    def __init__(self, valkey: Redis, host: str) -> None:
        self._valkey = valkey
        self._key = key(host)
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._something_waits = asyncio.Event()
        self._kept_at = float("-inf")

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def keep(self, sample: Metrics, now: float) -> None:
        """Takes the sample in, unless the one before was taken in a moment ago (`now`: monotonic seconds)."""
        if now - self._kept_at >= KEEP_EVERY_SECONDS:
            self._kept_at = now
            self._waiting.append(_encoder.encode(point(sample)))
            self._something_waits.set()

    async def write_forever(self) -> None:
        """Writes what waits, as soon as Valkey takes it."""
        away = False
        while True:
            await self._something_waits.wait()
            self._something_waits.clear()
            try:
                async with asyncio.timeout(VALKEY_SECONDS):
                    await self._write()
            except (RedisError, OSError, TimeoutError) as error:
                if not away:
                    log.warning("the history cannot be written; it waits in memory", error=str(error))
                away = True
                await asyncio.sleep(RETRY_SECONDS)
                self._something_waits.set()
            else:
                if away:
                    log.info("the history is written again")
                away = False

    async def points(self, host: str, minutes: int) -> list[HistoryPoint]:
        """Of the last `minutes`, oldest first. Raises `RequestError(service_unavailable)` when Valkey is away."""
        count = minutes * 60 // HISTORY_INTERVAL_SECONDS
        try:
            async with asyncio.timeout(VALKEY_SECONDS):
                stored = await self._valkey.lrange(key(host), -count, -1)
        except (RedisError, OSError, TimeoutError) as error:
            raise RequestError(
                ErrorCode.SERVICE_UNAVAILABLE,
                "The history is kept in Valkey, which does not answer. Live metrics go on; ask again later.",
                retry_after_ms=int(RETRY_SECONDS * 1000),
            ) from error
        oldest = datetime.now(UTC) - timedelta(minutes=minutes)
        # By time: a write that Valkey did, but too late for us to hear of it, was done twice.
        found = {one.timestamp: one for one in map(_decoder.decode, stored) if one.timestamp >= oldest}
        return [found[at] for at in sorted(found)]

    async def ping(self) -> None:
        await self._valkey.ping()

    async def _write(self) -> None:
        points = list(self._waiting)
        async with self._valkey.pipeline(transaction=True) as pipeline:
            pipeline.rpush(self._key, *points)
            pipeline.ltrim(self._key, -MOST_POINTS, -1)
            pipeline.expire(self._key, EXPIRE_SECONDS)
            await pipeline.execute()
        for written in points:
            # Others may have been added meanwhile, and the oldest have fallen out for them.
            if self._waiting and self._waiting[0] is written:
                self._waiting.popleft()


def key(host: str) -> str:
    """Where the points of a host are."""
    return f"monitoring:v1:history:{subjects.host_token(host)}"


def point(sample: Metrics) -> HistoryPoint:
    """What is kept of a sample: about 400 bytes of several thousand."""
    return HistoryPoint(
        timestamp=sample.timestamp,
        cpu_usage=sample.cpu.usage,
        cpu_temperature=sample.cpu.temperature,
        memory_used=sample.memory.used,
        memory_used_percent=sample.memory.used_percent,
        swap_used_percent=sample.swap.used_percent,
        disk_used_percent=sample.disk.used_percent,
        disk_read_rate=sample.disk.read_rate,
        disk_write_rate=sample.disk.write_rate,
        network_rx=sample.network.rx,
        network_tx=sample.network.tx,
        load_average=sample.load_average[0] if sample.load_average else None,
        gpu_usage=[gpu.usage for gpu in sample.gpu],
        gpu_memory_used_percent=[gpu.memory_used_percent for gpu in sample.gpu],
    )
