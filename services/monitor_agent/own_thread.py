"""One thread for calls that block, beside the event loop.

Not `asyncio.to_thread`: the interpreter waits at its end for the threads of an executor, so a call that never returns
(a file system whose device is gone) would keep the process from stopping. This thread it does not wait for.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class OwnThread:
    """Runs one call after the other. Must be made on the event loop that calls it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def run(self, function: Callable[[], T]) -> T:
        """The function's result, or what it raises."""
        result: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((function, result))
        return await result

    def _run(self) -> None:
        while True:
            function, result = self._calls.get()
            try:
                value, error = function(), None
            except Exception as raised:  # noqa: BLE001 (whatever it is, the caller is given it)
                value, error = None, raised
            # Closed: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, result, value, error)


def _settle(result: "asyncio.Future[Any]", value: object, error: Exception | None) -> None:
    if result.done():
        return  # Its caller was cancelled.
    if error is None:
        result.set_result(value)
    else:
        result.set_exception(error)
