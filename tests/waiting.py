"""Waiting for conditions, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil

DEADLINE_SECONDS = 10.0


async def until(condition: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as `condition` holds; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the condition lies outside this process)
            await asyncio.sleep(0.01)


async def until_answer(question: Callable[[], Awaitable[object]], *, seconds: float = DEADLINE_SECONDS) -> None:
    """The same for a condition that has to be asked for."""
    async with asyncio.timeout(seconds):
        while not await question():  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """The same where no event loop runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
