"""What every service shares, shown by a small service of its own: a real process with real signals."""

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers import free_port
from tests.http_client import HTTP
from tests.processes import ROOT
from tests.waiting import wait_until

PROGRAM = """
import asyncio
from starlette.applications import Starlette
from libs.runtime.logs import configure_logs
from libs.runtime.probes import probe_routes
from libs.runtime.process import Process, run
from libs.runtime.serving import serve

async def good() -> None:
    pass

async def bad() -> None:
    raise ValueError("the thing is broken")

async def hanging() -> None:
    await asyncio.sleep(60)

async def dying(after: float) -> None:
    await asyncio.sleep(after)
    raise ValueError("a defect")

async def slow_drain() -> None:
    await asyncio.sleep(0.3)
    print("drained", flush=True)

async def body(process: Process) -> None:
    {body}

configure_logs("small", log_format="json")
run(body)
"""
SERVE = """
    app = Starlette(routes=probe_routes(process, needs={needs}, likes={likes}))
    await serve(app, process, host="127.0.0.1", port={port}, drain=slow_drain)
"""


class Small:
    """A running small service."""

    def __init__(self, program: str, port: int, log: Path) -> None:
        self.port = port
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=output, stderr=output)

    def get(self, path: str) -> httpx.Response:
        return HTTP.get(f"http://127.0.0.1:{self.port}{path}")

    def answers(self) -> bool:
        try:
            return self.get("/healthz").text == "ok\n"
        except httpx.HTTPError:
            return False

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


Start = Callable[..., Small]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a small service; ends it after the test."""
    started: list[Small] = []

    def start_one(before: str = "pass", needs: str = "{}", likes: str = "{}", port: int | None = None) -> Small:
        chosen = port or free_port()
        serving = textwrap.dedent(SERVE.format(needs=needs, likes=likes, port=chosen))
        body = textwrap.indent(f"{before}\n{serving}", "    ").lstrip()
        small = Small(PROGRAM.format(body=body), chosen, tmp_path / "log")
        started.append(small)
        return small

    yield start_one
    for small in started:
        small.process.kill()
        small.process.wait(timeout=5)


def test_sigterm_drains_and_exits_with_zero(start: Start) -> None:
    """An orderly stop is a success; uvicorn alone would exit 143."""
    small = start()
    wait_until(small.answers)
    small.process.send_signal(signal.SIGTERM)
    assert small.process.wait(timeout=5) == 0
    assert "drained" in small.log.read_text()


def test_readiness_is_off_while_it_drains(start: Start) -> None:
    """So that nobody sends it new work."""
    small = start()
    wait_until(small.answers)
    small.process.send_signal(signal.SIGTERM)
    wait_until(lambda: small.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE)


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    """Whoever sends it does not want to wait."""
    small = start(before="global slow_drain\nslow_drain = hanging")
    wait_until(small.answers)
    small.process.send_signal(signal.SIGTERM)
    wait_until(lambda: small.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE)
    small.process.send_signal(signal.SIGTERM)
    assert small.process.wait(timeout=5) == 130


def test_a_loop_that_dies_ends_the_process_with_one(start: Start) -> None:
    """uvicorn alone would go on answering 200 with nobody working behind it."""
    small = start(before='process.keep_running(dying(0.2), name="consumer")')
    assert small.process.wait(timeout=10) == 1
    events = [record["event"] for record in small.records()]
    assert "a loop has died" in events
    assert "this process must end" in events


def test_a_loop_that_has_died_is_named_by_readiness(start: Start) -> None:
    """For as long as the process still drains."""
    small = start(before='process.keep_running(dying(1.0), name="consumer")\nglobal slow_drain\nslow_drain = hanging')
    wait_until(small.answers)
    wait_until(lambda: "consumer" in small.get("/readyz").json()["failing"])


def test_readiness_names_what_fails_within_two_seconds(start: Start) -> None:
    """Each dependency by name, also one that never answers; what is only liked does not count."""
    small = start(needs='{"good": good, "bad": bad, "hanging": hanging}', likes='{"cache": bad}')
    wait_until(small.answers)
    asked = time.monotonic()
    answer = small.get("/readyz")
    assert time.monotonic() - asked < 2.5
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.json() == {
        "ready": False,
        "failing": ["bad", "hanging"],
        "checks": {"good": "ok", "bad": "the thing is broken", "hanging": "no answer within 1.8 s"},
        "optional": {"cache": "the thing is broken"},
    }


def test_with_everything_there_it_is_ready(start: Start) -> None:
    """200, also without what it only likes."""
    small = start(needs='{"good": good}', likes='{"cache": bad}')
    wait_until(small.answers)
    assert small.get("/readyz").status_code == httpx.codes.OK
    assert "event_loop_tasks" in small.get("/metrics").text


def test_a_taken_port_is_one_sentence_and_exit_code_one(start: Start) -> None:
    """Which port, and what to do; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        small = start(port=port)
        assert small.process.wait(timeout=10) == 1
    (record,) = small.records()
    assert record["reason"] == f"Port {port} on 127.0.0.1 is taken. Stop what uses it, or choose another port."
    assert "Traceback" not in small.log.read_text()


def test_every_log_line_is_one_json_object_with_the_service(start: Start) -> None:
    """Structured where machines read it."""
    small = start()
    wait_until(small.answers)
    for record in small.records():
        assert {"event", "level", "time", "service"} <= record.keys()
        assert record["service"] == "small"


def test_who_does_not_finish_its_first_request_is_cut_off(start: Start) -> None:
    """Whether it says nothing, half a line or half the headers; who has said what it wants stays."""
    small = start(before="import libs.runtime.serving\nlibs.runtime.serving.REQUEST_SECONDS = 0.5")
    wait_until(small.answers)
    whole = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
    with ExitStack() as opened:
        peers = [opened.enter_context(socket.create_connection(("127.0.0.1", small.port), timeout=3)) for _ in range(4)]
        for peer, said in zip(peers, (whole, b"", whole[:9], whole[:-2]), strict=True):
            peer.sendall(said)
        answered, *others = peers
        assert answered.recv(1000)
        for peer in others:
            assert peer.recv(1) == b""
        answered.sendall(whole)
        assert answered.recv(1000)
