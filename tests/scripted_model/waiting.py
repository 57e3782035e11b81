"""Waits for a condition instead of a time."""

import asyncio
from collections.abc import Awaitable, Callable

_LOOK_AGAIN_SECONDS = 0.002


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 1.0) -> None:
    """Looks again and again until the condition holds. Raises `TimeoutError` after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - any condition; there is no event that knows them all
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
