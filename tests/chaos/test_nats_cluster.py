"""A cluster of three NATS servers, provisioned with three replicas, goes on when its leader dies."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.bus.connection import connect
from libs.bus.streams import provision
from libs.bus.work_queue import store
from libs.contract import streams, subjects
from libs.local_stack.ports import free_ports
from tests.chaos.servers import NatsServers


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsServers]:
    """Three servers that have found each other."""
    ports = free_ports(9)
    servers = NatsServers(tmp_path, ports[:3], ports[3:6], ports[6:])
    try:
        for part in servers.parts:
            part.start()
        for part in servers.parts:
            await part.until_ready(20)
        yield servers
    finally:
        for part in servers.parts:
            part.kill()


@pytest.mark.thorough
async def test_requests_are_stored_while_the_leader_is_dead(cluster: NatsServers) -> None:
    """What was stored before it died is there as well."""
    async with connect(",".join(f"nats://127.0.0.1:{port}" for port in cluster.ports), name="test") as bus:
        await provision(bus, streams.ALL, replicas=3)
        await store(bus, streams.CHAT, subjects.chat_send(1), b"before", dedupe_id="1")
        leader = await cluster.leader()
        assert leader is not None
        leader.kill()
        await store(bus, streams.CHAT, subjects.chat_send(1), b"after", dedupe_id="2")
        info = await bus.jetstream().stream_info(streams.CHAT.name)
    assert (info.config.num_replicas, info.state.messages) == (3, 2)
    assert info.cluster is not None
    assert info.cluster.leader != leader.name
