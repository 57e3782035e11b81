"""What is being done for one connection beside its frames: bounded, and ended with the connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from libs.contract.errors import ErrorCode, RequestError


class Pending:
    """At most `limit` tasks at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Does not wait for it. Raises `RequestError(busy)` when `limit` are under way."""
        if len(self._tasks) >= self._limit:
            raise RequestError(
                ErrorCode.BUSY,
                f"{self._limit} requests of this connection are under way. Wait for an answer.",
                retry_after_ms=500,
            )

        async def do() -> None:
            await work()

        task = asyncio.create_task(do(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self) -> None:
        """Waits until nothing is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cancel(self) -> None:
        await cancel(*self._tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancels the tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
