"""The life of one service process: signals in, orderly stop, and an exit code that tells the truth.

    main() ─▶ run(service, body) ─▶ body(process): opens its things ─▶ serve(app) ─▶ SIGTERM ─▶ drain ─▶ closes them

uvicorn alone would keep answering 200 after a background loop has died, would cut every socket at once on SIGTERM,
and would exit 143 after an orderly stop; so the signals are ours and uvicorn only serves.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import uvloop

log = structlog.get_logger(__name__)


class StartupError(Exception):
    """The process cannot start; the message is one sentence that says what to do."""


class Process:
    """What a service knows about its own life. One per operating-system process."""

    def __init__(self) -> None:
        self.stop_requested = asyncio.Event()
        self.failure: str | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}

    @property
    def stopping(self) -> bool:
        return self.stop_requested.is_set()

    def fail(self, reason: str) -> None:
        """Ends the process in order, with exit code 1."""
        if self.failure is None:
            log.critical("this process must end", reason=reason)
            self.failure = reason
        self.stop_requested.set()

    def keep_running(self, loop: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Starts a loop without which the process is of no use: should it end early, the process ends with code 1."""
        task = asyncio.create_task(loop, name=name)
        task.add_done_callback(self._loop_ended)
        self._loops[name] = task
        return task

    def dead_loops(self) -> list[str]:
        return [name for name, task in self._loops.items() if task.done()]

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self.stopping:
            return
        error = task.exception()
        if error is not None:
            log.error("a loop has died", loop=task.get_name(), exc_info=error)
        self.fail(f"the loop {task.get_name()!r} has ended")

    def _signalled(self) -> None:
        if self.stopping:
            # A second signal: whoever sends it does not want to wait. Safe, because it is the same as a crash.
            os._exit(130)
        log.info("stopping")
        self.stop_requested.set()


def run(body: Callable[[Process], Awaitable[None]], *, cannot_start: tuple[type[Exception], ...] = ()) -> None:
    """Runs `body` on an event loop of its own, then exits: 0 after an orderly stop, 1 otherwise.

    `cannot_start`: exceptions whose message is already a sentence for people (no traceback is shown).
    """
    expected: tuple[type[Exception], ...] = (StartupError, *cannot_start)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failure = runner.run(_run(body))
    except expected as error:
        log.critical("cannot start", reason=str(error))
        sys.exit(1)
    sys.exit(1 if failure else 0)


async def _run(body: Callable[[Process], Awaitable[None]]) -> str | None:
    process = Process()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, process._signalled)  # noqa: SLF001 (the two belong together)
    await body(process)
    return process.failure
