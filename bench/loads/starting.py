"""`scripts/up` from its second start on: how long until everything is ready, and what the whole stack holds in memory.

The model server is not part of it: LM_STUDIO_URL leads to the one of the bench.
"""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.readings import Reading, Result
from bench.usage import family, pss_bytes, rss_bytes
from libs.local_stack.ports import free_ports
from tests.chaos import servers
from tests.processes import ROOT

START_SECONDS = 60.0
STOP_SECONDS = 30.0
# What services do once, after they are ready, is done by then.
SETTLE_SECONDS = 5.0
LOAD = "start: the whole local stack, without the model"


def _command() -> list[str]:
    """`scripts/up` itself where it would use this very Python; elsewhere what it comes to."""
    if Path(sys.prefix).resolve() == ROOT / ".venv":
        return [str(ROOT / "scripts" / "up")]
    return [sys.executable, "-m", "libs.local_stack"]


async def run(folder: Path, model_port: int, *, starts: int) -> Result:
    """Raises `TimeoutError` or `RuntimeError` if it does not start or stop."""
    readings: list[Reading] = []
    for number in range(starts + 1):
        async with _started(folder, model_port) as (seconds, pid):
            if number == 0:
                continue  # It makes the data folder.
            readings.append(Reading(LOAD, "second start s", "ours", seconds))
            if number == starts:
                await asyncio.sleep(SETTLE_SECONDS)
                readings += _memory(pid)
    return Result(readings, [])


def _memory(pid: int) -> list[Reading]:
    """Proportional: a page that several processes share is counted once. Resident: in each of them, as `ps` does."""
    pids = family([pid])
    resident = sum(rss_bytes(one) for one in pids) / 2**20
    shares = [pss_bytes(one) for one in pids]
    told = [share for share in shares if share is not None]
    proportional = sum(told) / 2**20 if len(told) == len(shares) else resident
    return [
        Reading(LOAD, "memory MiB", "ours", proportional),
        Reading(LOAD, "memory MiB, resident", "ours", resident),
        Reading(LOAD, "processes", "ours", len(pids)),
    ]


@asynccontextmanager
async def _started(folder: Path, model_port: int) -> AsyncIterator[tuple[float, int]]:
    """A stack that is ready: how long it took, and the pid of its launcher."""
    (port,) = free_ports(1)
    began = time.monotonic()
    launcher = await asyncio.create_subprocess_exec(
        *_command(), "--data", str(folder / "data"), "--port", str(port), cwd=ROOT,
        env={**servers.inherited(), "LM_STUDIO_URL": f"http://127.0.0.1:{model_port}/v1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        await _until_ready(launcher)
        yield time.monotonic() - began, launcher.pid
    finally:
        if launcher.returncode is None:
            launcher.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_SECONDS):
            await launcher.communicate()


async def _until_ready(launcher: asyncio.subprocess.Process) -> None:
    assert launcher.stdout is not None
    said = b""
    async with asyncio.timeout(START_SECONDS):
        while line := await launcher.stdout.readline():
            said += line
            if line.startswith(b"Ready after"):
                return
    raise RuntimeError(f"the stack did not start:\n{said.decode(errors='replace')}")
