"""One service of this project as its own process, as production runs it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from libs.local_stack import services
from tests.brokers import free_port
from tests.http_client import HTTP

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


class ServiceProcess:
    """`services.<name>.main` on a port of its own, run by the command of the local stack."""

    def __init__(self, name: str, env: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self.log = log
        prefix = name.upper()
        self._env = {
            **os.environ,  # noqa: TID251 (the child needs PATH and the like)
            "LOG_FORMAT": "json",
            f"{prefix}_HOST": "127.0.0.1",
            f"{prefix}_PORT": str(self.port),
            **env,
        }
        self._command = services.command(name)
        self.process = self._spawn()

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(self._command, env=self._env, cwd=ROOT, stdout=output, stderr=output)

    def restart(self) -> None:
        """Again, with the same port and log."""
        self.process = self._spawn()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 15) -> int:
        """Its exit code."""
        return self.process.wait(timeout=seconds)

    def get(self, path: str) -> httpx.Response:
        return HTTP.get(f"http://127.0.0.1:{self.port}{path}")

    def readiness(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/readyz").json()
        return answer

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"not ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it has never been counted."""
        lines = self.get("/metrics").text.splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith((f"{name} ", f"{name}{{", f"{name}_total ", f"{name}_total{{"))
        )

    def lines(self) -> list[dict[str, Any]]:
        """The log, decoded."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)


@contextmanager
def service(name: str, env: Mapping[str, str], log: Path) -> Iterator[ServiceProcess]:
    """A running and ready service; killed at the end if it still runs."""
    running = ServiceProcess(name, env, log)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()
