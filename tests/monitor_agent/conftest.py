"""An agent to ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.bus.connection import Bus
from tests.brokers import Server
from tests.monitor_agent.agents import agent
from tests.processes import ServiceProcess


@pytest.fixture
def running(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> Iterator[ServiceProcess]:
    """An agent named `one.example`."""
    with agent("one.example", nats, valkey, tmp_path) as started:
        yield started
