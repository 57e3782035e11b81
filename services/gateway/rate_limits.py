"""How many requests a user may make: a rate with a burst, shared by all gateways through Valkey.

The generic cell rate algorithm (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm) keeps one number a user:
the time at which the bucket would be empty again. Without Valkey each gateway counts for itself.
"""

import asyncio
import time

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.contract.errors import ErrorCode, RequestError

log = structlog.get_logger(__name__)

VALKEY_SECONDS = 0.25
# While Valkey is away, how long to go on without asking it again.
LOCAL_SECONDS = 5.0
MAX_LOCAL_USERS = 10_000

# KEYS[1] the user's key; ARGV: seconds a request, burst. Answers the seconds to wait, as text ("0": go ahead).
_ALLOW = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local empty_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + interval
local wait = empty_at - burst * interval - now
if wait > 0 then return string.format('%.6f', wait) end
redis.call('SET', KEYS[1], string.format('%.6f', empty_at), 'PX', math.ceil((empty_at - now) * 1000))
return '0'
"""


class RateLimits:
    """Asks Valkey, or counts by itself while Valkey is away."""

    def __init__(self, valkey: Redis, *, requests_per_minute: int, burst: int) -> None:
        self._valkey = valkey
        self._allow = valkey.register_script(_ALLOW)
        self._interval = 60 / requests_per_minute
        self._burst = burst
        self._empty_at: dict[str, float] = {}
        self._local_until = 0.0

    async def spend(self, user: str) -> None:
        """Counts one request. Raises `RequestError(rate_limited)` that says how long to wait."""
        wait = await self._seconds_to_wait(user)
        if wait > 0:
            raise RequestError(
                ErrorCode.RATE_LIMITED,
                f"Too many requests. Wait {wait:.1f} s.",
                retry_after_ms=int(wait * 1000) + 1,
            )

    async def ping(self) -> None:
        """Raises unless Valkey answers."""
        await self._valkey.ping()

    async def _seconds_to_wait(self, user: str) -> float:
        if time.monotonic() < self._local_until:
            return self._local_seconds_to_wait(user)
        try:
            async with asyncio.timeout(VALKEY_SECONDS):
                return float(await self._allow(keys=[f"rate:{user}"], args=[self._interval, self._burst]))
        except (RedisError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            log.warning("Valkey is away; this gateway counts requests by itself", reason=reason)
            self._local_until = time.monotonic() + LOCAL_SECONDS
            return self._local_seconds_to_wait(user)

    def _local_seconds_to_wait(self, user: str) -> float:
        now = time.monotonic()
        empty_at = max(self._empty_at.get(user, now), now) + self._interval
        wait = empty_at - self._burst * self._interval - now
        if wait <= 0:
            if len(self._empty_at) >= MAX_LOCAL_USERS:
                self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}
            self._empty_at[user] = empty_at
        return wait
