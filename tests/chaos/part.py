"""One process under the schedule's hand: started, killed, frozen, thawed, told to stop; always by its own pid."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.processes import ROOT

READY_SECONDS = 60.0
STOP_SECONDS = 25.0
LOOK_SECONDS = 0.05

Ready = Callable[[], Awaitable[bool]]


class Part:
    """`name` is unique; `kind` is what the schedule knows it by."""

    def __init__(
        self, name: str, kind: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path, ready: Ready
    ) -> None:
        self.name = name
        self.kind = kind
        self.log = folder / f"{name}.log"
        self.wanted = False
        """Whether it should run now; one that does not although it should has ended by itself."""
        self.highest_rss = 0
        self._command = list(command)
        self._env = dict(env)
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.frozen = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or when it was never started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C is for this program, which stops its children in order.
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.frozen = False
        self.wanted = True

    async def until_ready(self, seconds: float = READY_SECONDS, *, revived: bool = True) -> None:
        """Raises `TimeoutError` with the end of its log. `revived`: somebody starts it again should it end."""
        deadline = time.monotonic() + seconds
        while not await self._ready():
            # One that is started again by nobody will not become ready.
            ended = not revived and self.exit_code is not None
            if ended or time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready:\n{self.log.read_text(errors='replace')[-2000:]}")
            await asyncio.sleep(LOOK_SECONDS)

    async def is_ready(self) -> bool:
        return self.running and not self.frozen and await self._ready()

    def kill(self) -> None:
        """As a crash would: SIGKILL."""
        self.wanted = False
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)

    def crash(self) -> None:
        """SIGKILL that nobody has planned: whoever supervises it finds it ended, and starts it again."""
        if self._process is not None:
            self._process.kill()

    def freeze(self) -> None:
        """Keeps the sockets open and answers nothing."""
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self.frozen = True

    def thaw(self) -> None:
        if self.running and self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self.frozen = False

    async def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """SIGTERM and its exit code; None: it had to be killed."""
        self.wanted = False
        if self._process is None:
            return 0
        self.thaw()
        self._process.terminate()
        deadline = time.monotonic() + seconds
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return self._process.returncode

    def weigh(self) -> None:
        """Notes how much memory it holds now."""
        if self.running and self.pid is not None:
            with contextlib.suppress(psutil.Error):
                self.highest_rss = max(self.highest_rss, psutil.Process(self.pid).memory_info().rss)
