"""Things that many connections use at once: opened for the first one, closed after the last.

take(key) ─▶ 1st: open ─▶ used by 1, 2, 3 … ─▶ release(key) by the last: close
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import structlog

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 5.0


class Shared(Generic[K, T]):
    """Reference counts. `opened` makes the thing of one key, which lives until that context is left."""

    def __init__(self, opened: Callable[[K], AbstractAsyncContextManager[T]]) -> None:
        self._opened = opened
        self._held: dict[K, _Held[T]] = {}
        self._lives: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many are open or being opened."""
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        """Those that are open now."""
        return iter([held.thing.result() for held in self._held.values() if held.is_open])

    async def take(self, key: K) -> T:
        """The thing of this key; every success needs one `release`. Raises what opening it raised."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held()
            life = asyncio.create_task(self._live(key, held), name=f"shared {key}")
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
        held.users += 1
        try:
            return await asyncio.shield(held.thing)
        except BaseException:
            self._release(key, held)
            raise

    def release(self, key: K) -> None:
        """One user less. Does not wait for the closing."""
        self._release(key, self._held[key])

    async def close(self) -> None:
        """Waits for what is being closed."""
        if self._lives:
            await asyncio.wait(self._lives, timeout=CLOSE_SECONDS)

    def _release(self, key: K, held: "_Held[T]") -> None:
        held.users -= 1
        if held.users == 0:
            # Who comes now opens it anew: this one may be half closed before they can use it.
            if self._held.get(key) is held:
                del self._held[key]
            held.unused.set()

    async def _live(self, key: K, held: "_Held[T]") -> None:
        try:
            async with self._opened(key) as thing:
                held.thing.set_result(thing)
                await held.unused.wait()
        except Exception as error:
            if self._held.get(key) is held:
                del self._held[key]
            if held.thing.done():
                log.exception("closing failed", key=key)
            else:
                held.thing.set_exception(error)
                # Everybody who waited for it may have left.
                held.thing.exception()


class _Held(Generic[T]):
    def __init__(self) -> None:
        self.users = 0
        self.thing: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.unused = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self.thing.done() and self.thing.exception() is None
