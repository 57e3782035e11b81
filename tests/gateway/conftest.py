"""Gateway processes with a real bus and cache; the service behind them is played by the test itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libs.bus.connection import Bus, connect
from libs.bus.streams import provision
from libs.client.connection import Client
from libs.contract import streams
from tests.brokers import Server, nats_server, valkey_server
from tests.clients import open_client
from tests.processes import ServiceProcess, service
from tests.waiting import until_answer


@contextmanager
def _gateway(nats: Server, valkey: Server, log: Path) -> Iterator[ServiceProcess]:
    env = {
        "NATS_URL": nats.url,
        "VALKEY_URL": valkey.url,
        # Limits have tests of their own; here they would only be in the way.
        "GATEWAY_REQUESTS_PER_MINUTE": "600000",
        "GATEWAY_BURST": "100000",
        "GATEWAY_DRAIN_SECONDS": "0.5",
    }
    with service("gateway", env, log) as running:
        yield running


@pytest.fixture
def gateway(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A gateway for this test alone, which may stop it or what it stands on (`nats`, `valkey`)."""
    with _gateway(nats, valkey, tmp_path / "gateway.log") as running:
        yield running


@pytest.fixture
async def client(gateway: ServiceProcess) -> AsyncIterator[Client]:
    """A client of this test's own gateway."""
    async with open_client(gateway.ws) as connected:
        yield connected


@pytest.fixture
async def client_without_streams(nats: Server, valkey: Server, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a gateway whose NATS nobody has provisioned."""
    with _gateway(nats, valkey, tmp_path / "gateway.log") as running:
        async with open_client(running.ws) as connected:
            yield connected


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = nats_server(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_gateway(shared_nats: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One gateway for all tests that leave it as it was."""
    valkey = valkey_server()
    valkey.start()
    with _gateway(shared_nats, valkey, tmp_path_factory.mktemp("gateway") / "log") as running:
        yield running
    valkey.kill()


@pytest.fixture
async def shared_bus(shared_nats: Server) -> AsyncIterator[Bus]:
    """The bus of the shared gateway."""
    async with connect(shared_nats.url, name="test") as connected:
        yield connected


@pytest.fixture
async def chat_bus(shared_bus: Bus, shared_gateway: ServiceProcess) -> AsyncIterator[Bus]:
    """The same, with an empty queue of requests; the gateway watches no answer."""
    await until_answer(lambda: asyncio.to_thread(lambda: not shared_gateway.metric("gateway_answers_watched")))
    await provision(shared_bus, (streams.CHAT,))
    yield shared_bus
    await shared_bus.jetstream().delete_stream(streams.CHAT.name)


@pytest.fixture
async def visitor(shared_gateway: ServiceProcess) -> AsyncIterator[Client]:
    """A client of the shared gateway."""
    async with open_client(shared_gateway.ws) as connected:
        yield connected
