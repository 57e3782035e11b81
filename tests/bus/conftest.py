"""The tests' own queue, provisioned."""

import pytest

from libs.bus import work_queue
from libs.bus.connection import Bus
from libs.bus.streams import provision
from libs.contract.streams import WorkStream
from tests.bus.queues import WORK


@pytest.fixture
async def work(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> WorkStream:
    # The end of each test waits for the pull that is under way.
    monkeypatch.setattr(work_queue, "PULL_SECONDS", 0.2)
    await provision(bus, (WORK,))
    return WORK
