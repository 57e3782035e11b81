"""One stack for all tests: two gateways, two workers, SQLite, the scripted model."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from libs.client.connection import Client
from tests.clients import open_client
from tests.processes import ROOT
from tests.system.stack import RunningStack, nothing_runs, running_stack
from tests.waiting import until_answer

# Listed by the scripted model beside its own names.
PACED = "paced-40-50,paced-100-50,paced-150-50,paced-400-50"


@pytest.fixture(scope="session")
def scripted_url() -> Iterator[str]:
    """The scripted model server, as its own process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scripted_model", "--also", PACED], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().removeprefix("listening on ").strip()
    process.terminate()
    process.wait(timeout=10)
    process.stdout.close()


@pytest.fixture(scope="session")
def stack(scripted_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    folder = tmp_path_factory.mktemp("stack")
    # A grace period shorter than the answer that runs in it.
    env = {"CHAT_WORKER_GRACE_SECONDS": "0.3"}
    with running_stack(folder, lm_studio_url=scripted_url, gateways=2, workers=2, env=env) as running:
        yield running


@pytest.fixture
async def fragile(stack: RunningStack) -> RunningStack:
    """The same one, for the tests that kill its processes: they come last, and find it with nothing to do.

    The launcher starts again what was killed, and each test waits for that.
    """
    await until_answer(lambda: asyncio.to_thread(nothing_runs, stack), seconds=20)
    return stack


@pytest.fixture
async def client(stack: RunningStack) -> AsyncIterator[Client]:
    async with open_client(stack.gateways()[0]) as connected:
        yield connected


@pytest.fixture
async def other(stack: RunningStack) -> AsyncIterator[Client]:
    """A client of the other gateway."""
    async with open_client(stack.gateways()[1]) as connected:
        yield connected
