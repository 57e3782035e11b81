"""Services that a test plays for other processes: from the first line of the block on, NATS knows of them.

NATS reads every connection by itself, so the question of another process can be there before a subscription that was
sent earlier. One connection it reads in order: what it answers there, it answers after the subscription.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from libs.bus.connection import Bus


@asynccontextmanager
async def serving(
    bus: Bus, subject: str, answer: Callable[[str, bytes], Awaitable[bytes]], *, at_once: int = 64
) -> AsyncIterator[None]:
    """Answers whoever asks."""
    async with bus.serving(subject, answer, at_once=at_once):
        await bus.ping()
        yield


@asynccontextmanager
async def listening(bus: Bus, subject: str, handler: Callable[[str, bytes], None]) -> AsyncIterator[None]:
    """Hears whatever is said."""
    async with bus.listening(subject, handler):
        await bus.ping()
        yield
