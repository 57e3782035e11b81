"""Keeps the child processes running: starts them, restarts those that die, stops all in order.

Programs of one layer are stopped together, after those of the layers above. One task per program owns its process from
first start to last stop, so that no process can slip through between a restart and the stop.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from libs.local_stack import processes
from libs.local_stack.data_folder import DataFolder, Running
from libs.local_stack.processes import ChildProcess, Layer, Leash, Program
from libs.local_stack.start_error import StartError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# Alive for so long, a program counts as healthy and its next death starts from the first pause. As Docker has it.
HEALTHY_SECONDS = 10.0
READY_SECONDS = 30.0
ASK_EVERY_SECONDS = 0.05
# A program that dies so often before it was ever ready will not get ready.
FRUITLESS_STARTS = 3
LAST_LOG_LINES = 15

Say = Callable[[str], None]


class Keeper:
    """One program and the process that runs it now."""

    def __init__(self, program: Program, supervisor: "Supervisor") -> None:
        self.program = program
        self.process: ChildProcess | None = None
        self.starts = 0
        self.stopping = asyncio.Event()
        self._supervisor = supervisor
        self.log = supervisor.folder.log(program.name)
        self._first_byte = size(self.log)
        self.task = asyncio.create_task(self._keep(), name=program.name)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self.stopping.is_set():
            started = time.monotonic()
            ended = await self._run_once()
            if ended is None:
                return
            if time.monotonic() - started > HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._supervisor.say(f"{self.program.name} {ended}; next start in {pause:g} s, log: {self.log}")
            await self._stopping_within(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> str | None:
        """How the program ended, for people; None after it was stopped because all must stop."""
        self.starts += 1
        try:
            process = await ChildProcess.start(self.program, log=self.log, leash=self._supervisor.leash)
        except OSError as error:
            return f"cannot be started ({error})"
        self.process = process
        self._supervisor.changed()
        code = await self._ended(process)
        self.process = None
        return None if code is None else f"has ended ({processes.describe_exit(code)})"

    async def _ended(self, process: ChildProcess) -> int | None:
        """The exit code of a process that ended by itself; None after it was stopped because all must stop."""
        exited = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self.stopping.is_set():
            return await exited
        in_time = await process.stop()
        await exited
        late = "" if in_time else f" (killed: it had not ended within {self.program.stop_seconds:g} s)"
        self._supervisor.say(f"  {self.program.name} stopped{late}")
        return None

    async def _stopping_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return

    def failure(self, what: str) -> StartError:
        return failure(self.program, what, self.log, self._first_byte)


def failure(program: Program, what: str, log: Path, first_byte: int) -> StartError:
    """A sentence, and the end of what the program has printed since this launcher started it."""
    with log.open("rb") as file:
        file.seek(first_byte)
        lines = file.read().decode(errors="replace").splitlines()[-LAST_LOG_LINES:]
    said = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
    return StartError(f"{program.name} {what}. The end of its log {log}:\n{said}")


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


class Supervisor:
    """All programs of one launcher."""

    def __init__(self, folder: DataFolder, leash: Leash, say: Say) -> None:
        self.folder = folder
        self.leash = leash
        self.say = say
        self._keepers: list[Keeper] = []
        self._published = False

    def start(self, *programs: Program) -> None:
        """Start programs; from now on they are kept running."""
        self._keepers += [Keeper(program, self) for program in programs]

    async def run_once(self, program: Program, *, seconds: float) -> None:
        """Run a program to its end. Raises StartError when it takes longer or fails."""
        log = self.folder.log(program.name)
        first_byte = size(log)
        process = await ChildProcess.start(program, log=log, leash=self.leash)
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            raise failure(program, f"has not ended within {seconds:g} s", log, first_byte) from None
        finally:
            process.kill()
            await process.wait()
        if code != 0:
            raise failure(program, f"failed ({processes.describe_exit(code)})", log, first_byte)

    async def ready(self, *programs: Program) -> None:
        """Wait until these, or all that were started, are ready. Raises StartError naming the one that is not."""
        keepers = [keeper for keeper in self._keepers if not programs or keeper.program in programs]
        waiting = [asyncio.create_task(self._ready(keeper)) for keeper in keepers]
        try:
            await asyncio.gather(*waiting)
        finally:
            for task in waiting:
                task.cancel()

    async def _ready(self, keeper: Keeper) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await keeper.program.ready():
                    if keeper.starts >= FRUITLESS_STARTS:
                        raise keeper.failure("does not start")
                    await asyncio.sleep(ASK_EVERY_SECONDS)
        except TimeoutError:
            raise keeper.failure(f"is not ready after {READY_SECONDS:g} s") from None

    def publish(self) -> None:
        """Write `stack.json`, now and whenever a process is replaced."""
        self._published = True
        self.changed()

    def changed(self) -> None:
        if not self._published:
            return
        try:
            self.folder.write_stack(self.running())
        except OSError as error:
            self.say(f"{self.folder.stack} cannot be written ({error.strerror}); all goes on without it.")

    def running(self) -> dict[str, Running]:
        return {
            keeper.program.name: Running(keeper.process.pid, keeper.program.url, str(keeper.log))
            for keeper in sorted(self._keepers, key=lambda keeper: keeper.program.layer)
            if keeper.process is not None
        }

    async def stop(self) -> None:
        """Stop everything, layer by layer from the top. Nothing is left afterwards."""
        self._published = False
        for layer in reversed(Layer):
            keepers = [keeper for keeper in self._keepers if keeper.program.layer is layer]
            for keeper in keepers:
                keeper.stopping.set()
            for result in await asyncio.gather(*(keeper.task for keeper in keepers), return_exceptions=True):
                if isinstance(result, BaseException):
                    self.say(f"  stopping failed: {result!r}")

    def kill(self) -> None:
        """End every process at once."""
        for keeper in self._keepers:
            keeper.stopping.set()
            if keeper.process is not None:
                keeper.process.kill()
