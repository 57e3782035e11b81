"""The real NATS and Valkey servers that tests run against: started in milliseconds, on loopback, stopped by pid."""

import json
import random
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.streams import provision
from libs.contract import streams
from libs.local_stack import cache
from tests.waiting import wait_until

START_SECONDS = 10.0


class Server:
    """One server process on a port of its own, which it keeps when it is started again."""

    def __init__(self, command: list[str], port: int, *, url: str) -> None:
        self.url = url
        self._command = command
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self._command[0]} did not start")

    def kill(self) -> None:
        """As a crash would: SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(timeout=10)
            self._process = None

    def freeze(self) -> None:
        """Keeps the sockets open and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # On another core it runs on for a moment, and may answer.
        wait_until(lambda: _stopped(self._process))

    def thaw(self) -> None:
        """Goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


async def answers(bus: Bus) -> bool:
    """Whether its NATS does."""
    try:
        await bus.ping()
    except BusUnavailable:
        return False
    return True


def _stopped(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def nats_server(folder: Path) -> Server:
    """NATS with JetStream on disk in `folder`; not started yet."""
    port = free_port()
    configuration = folder / "nats.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: {json.dumps(str(folder / "store"))} }}\n'
    )
    program = str(Path(sysconfig.get_path("scripts")) / "nats-server")
    return Server([program, "--config", str(configuration)], port, url=f"nats://127.0.0.1:{port}")


def valkey_server() -> Server:
    """Valkey without persistence; not started yet."""
    port = free_port()
    command = [str(cache.binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return Server(command, port, url=f"redis://127.0.0.1:{port}/0")


def free_port(count: int = 1) -> int:
    """The first of so many free ports in a row, below those that the system gives to outgoing connections."""
    while True:
        first = random.randrange(15_000, 32_000)  # noqa: S311 (spreads tests, guards nothing)
        with ExitStack() as bound, suppress(OSError):
            for port in range(first, first + count):
                bound.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Server]:
    """A NATS server of this test's own, running."""
    server = nats_server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def bus(nats: Server) -> AsyncIterator[Bus]:
    """A connection to a NATS server that holds the contract's streams."""
    async with connect(nats.url, name="test") as connected:
        await provision(connected, streams.ALL)
        yield connected


@pytest.fixture
def valkey() -> Iterator[Server]:
    """A Valkey server of this test's own, running."""
    server = valkey_server()
    server.start()
    yield server
    server.kill()
