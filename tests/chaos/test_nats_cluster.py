"""A cluster of three NATS servers, provisioned with three replicas, goes on when its leader dies or is sent away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.streams import provision
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract import streams, subjects
from libs.local_stack.ports import free_ports
from tests.chaos.part import Part
from tests.chaos.servers import NatsServers
from tests.waiting import until


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsServers]:
    """Three servers that have found each other."""
    ports = free_ports(9)
    servers = NatsServers(tmp_path, ports[:3], ports[3:6], ports[6:])
    for part in servers.parts:
        with (tmp_path / f"{part.name}.conf").open("a") as configuration:
            # The shortest that there is; a server that is sent away closes its clients after the grace period.
            configuration.write('lame_duck_duration: "30s"\nlame_duck_grace_period: "1s"\n')
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
    async with connect(_addresses(cluster), name="test") as bus:
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


@pytest.mark.thorough
async def test_a_server_that_is_sent_away_takes_nothing_with_it_that_was_accepted(cluster: NatsServers) -> None:
    """SIGUSR2, as an upgrade does: who asks and who works move to another server, and all that was stored is done once.

    (Lame duck mode: nobody new is let in, and after the grace period who is there is sent away.)
    """
    stored: list[bytes] = []
    done: list[bytes] = []

    async def handler(item: WorkItem) -> None:
        await item.done()
        done.append(item.payload)

    async with connect(_addresses(cluster), name="test") as bus:
        await provision(bus, streams.ALL, replicas=3)
    leader = await cluster.leader()
    assert leader is not None
    assert leader.pid is not None
    async with _connected_to(cluster, leader) as asker, _connected_to(cluster, leader) as worker:
        queue = WorkQueue(worker, streams.CHAT, handler, slots=4)
        running = asyncio.create_task(queue.run())
        os.kill(leader.pid, signal.SIGUSR2)
        async with asyncio.timeout(40):
            # On until both have moved, the server has ended, and some more.
            while leader.running or not (asker.connected and worker.connected) or len(stored) < 100:
                payload = b"%d" % len(stored)
                try:
                    await store(asker, streams.CHAT, subjects.chat_send(1), payload, dedupe_id=payload.decode())
                except BusUnavailable:
                    await asyncio.sleep(0.05)  # refused at once between two servers: a client says it again
                else:
                    stored.append(payload)
        await until(lambda: len(done) >= len(stored))
        queue.stop()
        await running
        assert (asker.reconnects, worker.reconnects) == (1, 1)
    assert leader.exit_code == 0
    assert sorted(done) == sorted(stored)


def _addresses(cluster: NatsServers) -> str:
    return ",".join(f"nats://127.0.0.1:{port}" for port in cluster.ports)


@asynccontextmanager
async def _connected_to(cluster: NatsServers, part: Part) -> AsyncIterator[Bus]:
    """Knows all servers and is with this one; nats-py takes them in any order."""
    port = cluster.ports[cluster.parts.index(part)]
    while True:
        async with connect(_addresses(cluster), name="test") as bus:
            address = bus._client.connected_url
            if address is not None and address.port == port:
                yield bus
                return
