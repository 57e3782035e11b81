"""Processes: who uses most, and which one is the model server."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from services.monitor_agent.readings import model_server
from services.monitor_agent.readings.model_server import NOT_RUNNING, Found, ModelServerFinder, local_address
from services.monitor_agent.readings.processes import ProcessesReading, process_name
from tests.brokers import free_port
from tests.waiting import wait_until

LISTENING = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
model = "import time; kept = b'x' * 50_000_000; print('up', flush=True); time.sleep(60)"
subprocess.run([sys.executable, "-c", model])
"""
NOWHERE = "http://model.example:1234/v1"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def listening_process(port: int) -> Iterator[psutil.Process]:
    """A process that listens on `port` and has a child which uses 50 MB."""
    command = [sys.executable, "-c", LISTENING, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        server = psutil.Process(process.pid)
        family = [*server.children(), server]
        yield server
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()


@pytest.fixture
def listening() -> Iterator[tuple[int, psutil.Process]]:
    """A port, and who listens there."""
    port = free_port()
    with listening_process(port) as server:
        yield port, server


def test_who_works_hardest_is_on_top() -> None:
    """By share of the whole machine, so never over 100."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            reading = ProcessesReading(ModelServerFinder(NOWHERE))
            wait_until(lambda: psutil.Process(process.pid).cpu_times().user > 0.5)
            found = reading.read()
        finally:
            process.kill()
    [hungry] = [one for one in found.top if one.pid == process.pid]
    assert hungry.cpu_usage is not None
    assert 1 < hungry.cpu_usage <= 100
    assert hungry.memory > 1_000_000
    shares = [one.cpu_usage or 0.0 for one in found.top]
    assert shares == sorted(shares, reverse=True)
    assert len(found.top) <= 10 <= found.count


def test_a_process_has_the_name_that_the_kernel_keeps(tmp_path: Path) -> None:
    """psutil completes longer ones from the command line, where a program can write what it likes."""
    program = tmp_path / "a-name-longer-than-the-kernel-keeps"
    program.symlink_to(sys.executable)
    command = [f"{program.name} --password=topsecret", "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(command, executable=program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        running = psutil.Process(process.pid)
        assert "topsecret" in running.name()
        assert process_name(running) == "a-name-longer-t"
        process.kill()
    assert process_name(running) is None


def test_the_model_server_is_who_listens_where_the_url_points(listening: tuple[int, psutil.Process]) -> None:
    """With its children: they are the ones that hold the model."""
    port, server = listening
    reading = ProcessesReading(ModelServerFinder(f"http://localhost:{port}/v1"))
    found = reading.read().model_server
    assert (found.running, found.pid) == (True, server.pid)
    assert found.memory is not None
    assert found.memory > 50_000_000 + server.memory_info().rss
    assert found.cpu_usage is not None


def test_without_a_model_server_everything_about_it_is_null() -> None:
    """Not running, and no zeros."""
    reading = ProcessesReading(ModelServerFinder(f"http://localhost:{free_port()}/v1"))
    found = reading.read().model_server
    assert (found.running, found.pid, found.cpu_usage, found.memory) == (False, None, None, None)


def test_a_model_server_that_has_ended_is_noticed_at_the_next_look(listening: tuple[int, psutil.Process]) -> None:
    """And one that comes within half a minute."""
    port, server = listening
    clock = Clock()
    finder = ModelServerFinder(f"http://127.0.0.1:{port}/v1", clock=clock)
    assert finder.find({server.pid}, dict) == Found(running=True, pid=server.pid)
    server.kill()
    server.wait(5)
    assert finder.find(set(), dict) == NOT_RUNNING
    with listening_process(port) as later:
        assert finder.find({later.pid}, dict) == NOT_RUNNING
        clock.now = model_server.LOOK_EVERY_SECONDS
        assert finder.find({later.pid}, dict) == Found(running=True, pid=later.pid)


def test_the_model_server_of_another_machine_is_looked_for_by_name_here() -> None:
    """This host may run one too, for others."""
    names = {7: "systemd", 12: "LM Studio", 9: "lm-studio", 15: "python"}
    assert ModelServerFinder(NOWHERE).find(names, lambda: names) == Found(running=True, pid=9)
    assert ModelServerFinder(NOWHERE).find({7}, lambda: {7: "systemd"}) == NOT_RUNNING


def test_a_model_server_that_stops_listening_is_off_though_its_program_is_open() -> None:
    """As LM Studio's window with the server switched off."""
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        finder = ModelServerFinder(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", clock=clock)
        assert finder.find({os.getpid()}, dict) == Found(running=True, pid=os.getpid())
    clock.now = model_server.LOOK_EVERY_SECONDS
    assert finder.find({os.getpid()}, dict) == NOT_RUNNING


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:1234/v1", ("localhost", 1234)),
        ("http://127.0.0.1:8080/v1", ("127.0.0.1", 8080)),
        ("http://[::1]:8080/v1", ("::1", 8080)),
        ("http://localhost/v1", ("localhost", 80)),
        (NOWHERE, None),
        ("http://localhost:port/v1", None),
        ("", None),
    ],
)
def test_only_an_address_of_this_machine_tells_which_process_it_is(url: str, address: tuple[str, int] | None) -> None:
    """Elsewhere the same number is somebody else's."""
    assert local_address(url) == address
