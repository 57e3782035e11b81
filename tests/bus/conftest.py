"""The tests' own queue, provisioned."""

import pytest

from libs.bus.connection import Bus
from libs.bus.streams import provision
from libs.contract.streams import WorkStream
from tests.bus.queues import WORK


@pytest.fixture
async def work(bus: Bus) -> WorkStream:
    await provision(bus, (WORK,))
    return WORK
