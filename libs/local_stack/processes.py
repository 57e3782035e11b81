"""One child process: start it so that it cannot outlive the launcher, wait for it, stop it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Self

import msgspec

from libs.local_stack import guard, tether

ROOT = Path(__file__).resolve().parent.parent.parent


class Layer(IntEnum):
    """Who stands on whom: the last is stopped first."""

    BROKER = 1
    CACHE = 2
    MODEL = 3
    WORKER = 4
    GATEWAY = 5


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and how to tell that it is ready for work."""

    name: str
    layer: Layer
    command: Sequence[str]
    env: Mapping[str, str]
    # What a client connects to.
    url: str
    ready: Callable[[], Awaitable[bool]]
    # How long it may take to end after SIGTERM, before it is killed.
    stop_seconds: float


class Leash:
    """What binds every child to this launcher: parent-death signal on Linux, a guard process elsewhere."""

    def __init__(self, *, use_guard: bool = sys.platform != "linux", keep_open: Sequence[int] = ()) -> None:
        """`keep_open`: file descriptors that the children inherit."""
        self._keep_open = tuple(keep_open)
        self._guard: subprocess.Popen[str] | None = None
        if use_guard:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__], stdin=subprocess.PIPE, start_new_session=True, text=True
            )

    def command(self, command: Sequence[str]) -> list[str]:
        binding = ["parent", str(os.getpid())] if self._guard is None else ["guard", str(self._pipe())]
        return [sys.executable, "-I", "-S", tether.__file__, *binding, *command]

    def inherited(self) -> tuple[int, ...]:
        return self._keep_open if self._guard is None else (*self._keep_open, self._pipe())

    def forget(self, pid: int) -> None:
        """A child has ended: its number may come to mean somebody else."""
        if self._guard is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._pipe(), f"-{pid}\n".encode())

    def close(self) -> None:
        """Let the guard go; it then kills whatever is left."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait(timeout=5)

    def _pipe(self) -> int:
        if self._guard is None or self._guard.stdin is None:
            raise RuntimeError("there is no guard")
        return self._guard.stdin.fileno()


class ChildProcess:
    """A running program, in a session of its own: a terminal's Ctrl-C reaches only the launcher."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process, leash: Leash) -> None:
        self._program = program
        self._process = process
        self._leash = leash

    @classmethod
    async def start(cls, program: Program, *, log: Path, leash: Leash) -> Self:
        """Run `program` from the repository's root; what it prints is added to `log`."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *leash.command(program.command),
                env=dict(program.env),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=leash.inherited(),
            )
        return cls(program, process, leash)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code; negative: the signal that ended it. Nothing of its process group is left afterwards."""
        code = await self._process.wait()
        self.kill()
        self._leash.forget(self.pid)
        return code

    async def stop(self) -> bool:
        """Ask it to end, then make it. False: it had to be killed."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._program.stop_seconds):
                await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()
            return False
        return True

    def kill(self) -> None:
        """End it and whatever it has started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"
