"""Hosts that clients watch: the last sample at once, then as often as asked, and a word when one falls silent."""

import asyncio
from typing import Any

from libs.bus.connection import Bus, connect
from libs.bus.streams import provision
from libs.client.connection import Client
from libs.contract import streams, subjects
from tests.brokers import Server
from tests.clients import open_client
from tests.gateway.played import hearing_demands, publish_sample
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer


async def pushed(client: Client, *, seconds: float = 10) -> dict[str, Any]:
    frame: dict[str, Any] = await asyncio.wait_for(client.pushed.get(), seconds)
    return frame


async def test_the_last_sample_comes_at_once_and_the_next_ones_as_they_are_taken(bus: Bus, client: Client) -> None:
    """`monitoring:subscribed` first, as existing clients expect it."""
    await publish_sample(bus, "alpha", load=1.0)
    await bus.ping()
    answer = await client.ask("monitoring:subscribe")
    assert answer["type"] == "monitoring:subscribed"
    assert answer["data"]["intervalSeconds"] == 10
    assert [(host["host"], host["status"]) for host in answer["data"]["hosts"]] == [("alpha", "live")]
    first = await pushed(client)
    assert (first["type"], first["data"]["host"], first["data"]["loadAverage"][0]) == ("metrics", "alpha", 1.0)
    assert "id" not in first
    await publish_sample(bus, "beta", load=2.0)
    assert (await pushed(client))["data"]["host"] == "beta"
    assert await client.ask("monitoring:unsubscribe") == {"type": "monitoring:unsubscribed", "id": "2"}
    await publish_sample(bus, "alpha")
    await client.ask("ping")
    assert client.pushed.empty()


async def test_each_watcher_gets_samples_no_faster_than_it_asked(shared_bus: Bus, visitor: Client) -> None:
    """A host that samples every second for somebody else."""
    await visitor.ask("monitoring:subscribe", {"hosts": ["thinned"], "intervalSeconds": 60})
    for number in range(5):
        await publish_sample(shared_bus, "thinned", interval_seconds=1, load=number)
    assert (await pushed(visitor))["data"]["loadAverage"][0] == 0
    await visitor.ask("ping")
    assert visitor.pushed.empty()
    await visitor.ask("monitoring:unsubscribe")


async def test_only_the_hosts_that_were_named_are_shown(shared_bus: Bus, visitor: Client) -> None:
    """Also a name with dots and spaces, and one that nobody has heard of."""
    hosts = ["web 1.example", "never-heard-of", "web 1.example"]
    assert (await visitor.ask("monitoring:subscribe", {"hosts": hosts}))["data"]["hosts"] == []
    await publish_sample(shared_bus, "other")
    await publish_sample(shared_bus, "web 1.example")
    assert (await pushed(visitor))["data"]["host"] == "web 1.example"
    assert visitor.pushed.empty()
    await visitor.ask("monitoring:unsubscribe")


async def test_a_second_subscription_takes_the_place_of_the_first(
    shared_bus: Bus, shared_gateway: ServiceProcess, visitor: Client
) -> None:
    """No sample comes twice."""
    await visitor.ask("monitoring:subscribe", {"hosts": ["first"]})
    await visitor.ask("monitoring:subscribe", {"hosts": ["first", "second"]})
    for host in ("first", "second"):
        await publish_sample(shared_bus, host)
        assert (await pushed(visitor))["data"]["host"] == host
    await visitor.ask("ping")
    assert visitor.pushed.empty()
    assert await asyncio.to_thread(shared_gateway.metric, "gateway_topics") == 2
    await visitor.ask("monitoring:unsubscribe")


async def test_who_wants_samples_faster_makes_the_agents_sample_faster(
    shared_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """A demand at once, and again while somebody watches; the default interval demands nothing."""
    async with hearing_demands(shared_bus, subjects.monitoring_demand("fast")) as demanded:
        await visitor.ask("monitoring:subscribe", {"hosts": ["fast"], "intervalSeconds": 2})
        async with open_client(shared_gateway.ws) as faster, open_client(shared_gateway.ws) as slower:
            await slower.ask("monitoring:subscribe", {"hosts": ["fast"]})
            await faster.ask("monitoring:subscribe", {"hosts": ["fast"], "intervalSeconds": 1})
            await until(lambda: demanded[-1:] == [1])
        await until(lambda: len(demanded) >= 4, seconds=8)
    assert demanded[0] == 2
    assert demanded[-1] == 2
    await visitor.ask("monitoring:unsubscribe")
    async with hearing_demands(shared_bus, subjects.MONITORING_DEMAND_ALL) as demanded:
        await visitor.ask("monitoring:subscribe", {"intervalSeconds": 1})
        await until(lambda: demanded == [1])
    await visitor.ask("monitoring:unsubscribe")


async def test_a_host_that_samples_seldom_is_asked_for_what_its_watchers_want(shared_bus: Bus, visitor: Client) -> None:
    """Also when that is only the usual interval."""
    await visitor.ask("monitoring:subscribe", {"hosts": ["seldom"]})
    async with hearing_demands(shared_bus, subjects.monitoring_demand("seldom")) as demanded:
        await publish_sample(shared_bus, "seldom", interval_seconds=30)
        await until(lambda: demanded == [10])
    await visitor.ask("monitoring:unsubscribe")


async def test_a_silent_host_is_stale_and_said_so_and_live_again_with_its_next_sample(
    shared_bus: Bus, visitor: Client
) -> None:
    """A sample that promised the next within a second is stale after seven."""
    await visitor.ask("monitoring:subscribe", {"hosts": ["silent"], "intervalSeconds": 60})
    await publish_sample(shared_bus, "silent", interval_seconds=1)
    assert (await pushed(visitor))["type"] == "metrics"
    stale = await pushed(visitor, seconds=15)
    assert (stale["type"], stale["data"]["status"]) == ("monitoring:host", "stale")
    await publish_sample(shared_bus, "silent", interval_seconds=1)
    live = await pushed(visitor)
    assert (live["type"], live["data"]["status"]) == ("monitoring:host", "live")
    await visitor.ask("monitoring:unsubscribe")


async def test_without_the_stream_of_last_samples_the_next_ones_come_all_the_same(
    nats: Server, client_without_streams: Client
) -> None:
    """Nobody has provisioned this NATS."""
    assert (await client_without_streams.ask("monitoring:subscribe"))["data"]["hosts"] == []
    async with connect(nats.url, name="test") as bus:
        await publish_sample(bus, "alpha")
        assert (await pushed(client_without_streams))["data"]["host"] == "alpha"
        await provision(bus, streams.ALL)


async def test_samples_go_on_after_nats_was_away(
    client: Client, bus: Bus, nats: Server, gateway: ServiceProcess
) -> None:
    """The subscriptions come back by themselves."""
    await client.ask("monitoring:subscribe")
    nats.kill()
    await until_answer(lambda: asyncio.to_thread(lambda: not gateway.is_ready()))
    nats.start()
    await until_answer(lambda: asyncio.to_thread(gateway.is_ready))
    await until(lambda: bus.connected)
    await publish_sample(bus, "alpha")
    assert (await pushed(client))["data"]["host"] == "alpha"
