"""The processes of a peer: started, looked after, ended, each by its own pid."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.chaos import servers
from tests.chaos.part import Part

STOP_SECONDS = 10.0


def python_module(name: str, module: str, arguments: Sequence[str], *, ready: str, folder: Path) -> Part:
    """`python -m module`, ready when the page `ready` answers."""
    command = [sys.executable, "-m", module, *arguments]
    return Part(name, name, command, env=servers.inherited(), folder=folder, ready=servers.answers(ready))


def service(kind: str, name: str, port: int, env: Mapping[str, str], folder: Path) -> Part:
    """One of this project's services."""
    prefix = kind.upper()
    full = {
        **servers.inherited(),
        "LOG_FORMAT": "json",
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": str(port),
        **env,
    }
    command = [sys.executable, "-m", f"services.{kind}.main"]
    return Part(name, kind, command, env=full, folder=folder, ready=servers.answers(f"http://127.0.0.1:{port}/readyz"))


async def start(parts: Sequence[Part]) -> None:
    """All at once. Raises `TimeoutError` with the log of one that does not become ready."""
    for part in parts:
        if not part.running:
            part.start()
    await asyncio.gather(*(part.until_ready(revived=False) for part in parts))


async def stop(parts: Sequence[Part]) -> None:
    """In reverse order; one that does not end in time is killed."""
    for part in reversed(parts):
        with suppress(ProcessLookupError):
            await part.stop(STOP_SECONDS)


def ended(parts: Sequence[Part]) -> list[str]:
    """What has ended by itself, in sentences."""
    return [f"{part.name} ended by itself with {part.exit_code}" for part in parts if part.exit_code is not None]


def pids(parts: Sequence[Part]) -> dict[str, list[int]]:
    """Kind → its processes."""
    found: dict[str, list[int]] = {}
    for part in parts:
        if part.running and part.pid is not None:
            found.setdefault(part.kind, []).append(part.pid)
    return found
