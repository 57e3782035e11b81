"""The rate limit: a burst, then a steady rate, shared by all gateways while Valkey is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.bus.connection import Bus
from libs.client.connection import ClientError
from libs.contract.errors import ErrorCode, RequestError
from services.gateway import rate_limits
from services.gateway.rate_limits import RateLimits
from tests.brokers import Server
from tests.clients import open_client
from tests.gateway.played import played_tasks
from tests.processes import service


@asynccontextmanager
async def limits(server: Server) -> AsyncIterator[RateLimits]:
    async with Redis.from_url(server.url, socket_connect_timeout=0.25, socket_timeout=0.25) as valkey:
        yield RateLimits(valkey, requests_per_minute=60, burst=5)


async def spend_all(one: RateLimits, *, user: str = "me") -> tuple[int, RequestError]:
    """How many requests pass at once, and the refusal that follows."""
    for passed in range(100):
        try:
            await one.spend(user)
        except RequestError as error:
            return passed, error
    raise AssertionError("no limit")


async def test_a_burst_passes_and_then_the_wait_is_told(valkey: Server) -> None:
    """5 at once, then one a second."""
    async with limits(valkey) as one:
        passed, refusal = await spend_all(one)
    assert passed == 5
    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.retry_after_ms is not None
    assert 0 < refusal.retry_after_ms <= 1001


async def test_two_gateways_count_together(valkey: Server) -> None:
    """Reconnecting to another gateway does not help."""
    async with limits(valkey) as one, limits(valkey) as other:
        await spend_all(one)
        passed, _ = await spend_all(other)
    assert passed == 0


async def test_users_do_not_spend_each_others_requests(valkey: Server) -> None:
    """One bucket a user."""
    async with limits(valkey) as one:
        await spend_all(one, user="me")
        passed, _ = await spend_all(one, user="you")
    assert passed == 5


async def test_without_valkey_a_gateway_counts_by_itself(valkey: Server) -> None:
    """Degraded, not broken: the same burst, and no failure."""
    async with limits(valkey) as one:
        valkey.kill()
        passed, refusal = await spend_all(one)
        with pytest.raises(RedisError):
            await one.ping()
    assert passed == 5
    assert refusal.code is ErrorCode.RATE_LIMITED


async def test_a_frozen_valkey_costs_a_quarter_of_a_second_once(valkey: Server) -> None:
    """Every wait has a deadline, and a cache that is slow is not asked again for a while."""
    async with limits(valkey) as one:
        await one.spend("me")
        valkey.freeze()
        passed, _ = await spend_all(one)
    assert passed == 5


async def test_a_valkey_that_has_forgotten_everything_is_told_again(valkey: Server) -> None:
    """Emptied, the script too: a new burst for everybody, still counted together."""
    async with limits(valkey) as one, limits(valkey) as other, Redis.from_url(valkey.url) as admin:
        await spend_all(one)
        await admin.flushall()
        await admin.script_flush()
        assert [(await spend_all(gateway))[0] for gateway in (one, other)] == [5, 0]


async def test_gateways_count_together_again_when_valkey_is_back(
    valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again after a while; what was counted without it does not matter any more."""
    monkeypatch.setattr(rate_limits, "LOCAL_SECONDS", 0.1)
    async with limits(valkey) as one, limits(valkey) as other:
        valkey.kill()
        assert [(await spend_all(gateway))[0] for gateway in (one, other)] == [5, 5]
        valkey.start()
        await asyncio.sleep(0.1)  # what was set above
        assert [(await spend_all(gateway))[0] for gateway in (one, other)] == [5, 0]


async def test_a_page_may_follow_all_it_shows_at_once(nats: Server, valkey: Server, bus: Bus, tmp_path: Path) -> None:
    """Subscribing is not counted: it has a bound of its own."""
    env = {"NATS_URL": nats.url, "VALKEY_URL": valkey.url, "GATEWAY_BURST": "2", "GATEWAY_SUBSCRIPTIONS": "30"}
    with service("gateway", env, tmp_path / "log") as gateway:
        async with played_tasks(bus), open_client(gateway.ws) as client:
            await asyncio.gather(*(client.ask("task:subscribe", {"taskId": number}) for number in range(1, 31)))
            asked = (client.ask("task:get", {"taskId": 1}) for _ in range(5))
            answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {one.code for one in answers if isinstance(one, ClientError)} == {"rate_limited"}
