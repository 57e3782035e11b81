"""A running stack for tests: `python -m libs.local_stack` with a folder, ports and a model server of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from libs.database.engine import opened_engine
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.supervisor import LONGEST_PAUSE_SECONDS
from tests.brokers import free_port
from tests.http_client import HTTP
from tests.processes import ROOT
from tests.waiting import until_answer

START_SECONDS = 45.0
WORKERS = ("chat_worker-1", "chat_worker-2")

# The tests ask more in a minute than a person would.
GENEROUS = {"GATEWAY_REQUESTS_PER_MINUTE": "600000", "GATEWAY_BURST": "100000"}


class RunningStack:
    """What runs, where, and how to look into it from outside."""

    def __init__(self, data: Path, launcher: "subprocess.Popen[bytes]", env: Mapping[str, str]) -> None:
        self.data = data
        self.launcher = launcher
        self._database_url = env.get("CHAT_WORKER_DATABASE_URL") or DataFolder(data).database_url("chat_worker")

    def entries(self) -> dict[str, dict[str, Any]]:
        """`stack.json`: name → pid, url, log."""
        entries: dict[str, dict[str, Any]] = json.loads((self.data / "run" / "stack.json").read_text())
        return entries

    def gateways(self) -> list[str]:
        return [entry["url"] for name, entry in self.entries().items() if name.startswith("gateway")]

    @property
    def ws(self) -> str:
        return self.gateways()[0]

    def probe(self, name: str, path: str) -> httpx.Response:
        url = self.entries()[name]["url"].replace("ws://", "http://").removesuffix("/ws")
        return HTTP.get(f"{url}{path}")

    def is_ready(self, name: str) -> bool:
        try:
            return self.probe(name, "/readyz").status_code == httpx.codes.OK
        except (httpx.HTTPError, KeyError):
            return False  # not there yet, or dead and not started again yet

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.entries()[name]["pid"], number)

    def log(self, name: str) -> str:
        return (self.data / "logs" / f"{name}.log").read_text()

    async def rows(self, query: str) -> list[Any]:
        """What the database holds, asked without the project's own store."""
        async with opened_engine(self._database_url) as engine, engine.connect() as connection:
            return list(await connection.execute(text(query)))


@contextmanager
def running_stack(
    folder: Path, *, lm_studio_url: str, gateways: int = 1, workers: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[RunningStack]:
    """The stack, ready; stopped by Ctrl-C at the end."""
    # A name that has to be quoted, everywhere in its own way.
    data = folder / 'dados do João %41 "x"? #1'
    port = free_port(gateways)
    output = folder / "launcher.log"
    full_env = {**os.environ, **GENEROUS, "LM_STUDIO_URL": lm_studio_url, **(env or {})}  # noqa: TID251 (child's)
    command = [sys.executable, "-m", "libs.local_stack", "--data", str(data), "--port", str(port)]
    with output.open("wb") as written:
        launcher = subprocess.Popen(
            [*command, "--gateways", str(gateways), "--workers", str(workers)],
            cwd=ROOT,
            env=full_env,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        _wait_until_ready(data, launcher, output)
        yield RunningStack(data, launcher, full_env)
    finally:
        launcher.send_signal(signal.SIGINT)
        try:
            launcher.wait(timeout=40)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait(timeout=5)
            raise


def _wait_until_ready(data: Path, launcher: "subprocess.Popen[bytes]", output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (data / "run" / "stack.json").exists():
        if launcher.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the stack did not start:\n{output.read_text()}")
        time.sleep(0.02)


async def ready(stack: RunningStack, *names: str) -> None:
    """Waits until these processes are ready (again). One that was killed often is not started again at once."""
    seconds = LONGEST_PAUSE_SECONDS + START_SECONDS
    for name in names:
        await until_answer(lambda name=name: asyncio.to_thread(stack.is_ready, name), seconds=seconds)  # type: ignore[misc]


def nothing_runs(stack: RunningStack) -> bool:
    """No worker generates an answer."""
    return all("chat_worker_generations_running 0.0" in stack.probe(name, "/metrics").text for name in WORKERS)


async def running_worker(stack: RunningStack) -> str:
    """The worker that generates an answer now, as its metrics say."""
    for name in WORKERS:
        try:
            metrics = (await asyncio.to_thread(stack.probe, name, "/metrics")).text
        except (httpx.HTTPError, KeyError):
            continue  # frozen, or dead and not started again yet
        if "chat_worker_generations_running 1.0" in metrics:
            return name
    raise AssertionError("nobody generates")
