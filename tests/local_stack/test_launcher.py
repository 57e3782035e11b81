"""The whole stack by one command: ready, mended when a part dies, and gone after Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec

from libs.local_stack import ports
from libs.local_stack.data_folder import Running
from libs.local_stack.processes import ROOT
from tests.http_client import HTTP
from tests.waiting import alive, wait_until

READY_SECONDS = 40.0


def running(stack: Path) -> dict[str, Running]:
    return msgspec.json.decode(stack.read_bytes(), type=dict[str, Running])


def ready(port: int) -> bool:
    try:
        return HTTP.get(f"http://127.0.0.1:{port}/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_the_stack_is_ready_mends_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """As a person sees it, with the built-in model."""
    [port] = ports.free_ports(1)
    data = tmp_path / "my data"
    command = [sys.executable, "-m", "libs.local_stack", "--builtin-model", "--port", str(port), "--data", str(data)]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    stack = data / "run" / "stack.json"
    try:
        wait_until(lambda: stack.exists() or launcher.poll() is not None, seconds=READY_SECONDS)
        started = running(stack)
        assert list(started) == [
            "nats",
            "valkey",
            "model",
            "chat_worker-1",
            "monitor_agent",
            "task_service",
            "gateway-1",
        ]
        assert started["gateway-1"].url == f"ws://127.0.0.1:{port}/ws"
        assert ready(port)

        os.kill(started["gateway-1"].pid, signal.SIGKILL)
        wait_until(lambda: running(stack)["gateway-1"].pid != started["gateway-1"].pid)
        wait_until(lambda: ready(port), seconds=READY_SECONDS)
        pids = [process.pid for process in running(stack).values()]

        launcher.send_signal(signal.SIGINT)
        said, _ = launcher.communicate(timeout=20)
    finally:
        launcher.kill()
        launcher.communicate()
    assert launcher.returncode == 0
    assert "gateway-1 has ended (signal SIGKILL); next start in 0.5 s, log: " in said
    first, *workers, model, valkey, nats, last = said.partition("\nStopping …\n")[2].splitlines()
    assert first == "  gateway-1 stopped"
    # Of one layer, so in any order.
    assert sorted(workers) == ["  chat_worker-1 stopped", "  monitor_agent stopped", "  task_service stopped"]
    assert [model, valkey, nats, last] == ["  model stopped", "  valkey stopped", "  nats stopped", "Stopped."]
    assert [pid for pid in pids if alive(pid)] == []
    assert not stack.exists()
