"""Interrupts a wait that takes too long, with one timer for many waits.

`asyncio.timeout` around each read of a token stream costs 7 to 10 µs (Python 3.11), a third of what a token may cost
in all. This timer is only looked at when it rings: a read that moves the deadline moves a number.
"""

import asyncio
from types import TracebackType
from typing import Self

# How often an overdue watchdog looks again while nobody waits: the consumer is busy, the server is not to blame.
_LOOK_AGAIN_SECONDS = 1.0


class DeadlinePassedError(Exception):
    """The wait was interrupted because its deadline passed."""


class Watchdog:
    """`with watchdog: await something` raises `DeadlinePassedError` when `due` (loop time, seconds) passes meanwhile.

    It guards waits of the task that makes it, and interrupts once; `stop` must be called in the end. A cancellation
    from elsewhere passes through untouched.
    """

    def __init__(self, due: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a watchdog guards waits inside a task")
        # Asked for once: Python 3.11 makes a system call to find it.
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._due = due
        self._rings_at = due
        self._timer = self._loop.call_at(due, self._ring)
        self._waiting = False
        self._cancellations = 0
        self._bit = False

    def set_due(self, due: float) -> None:
        """Moves the deadline."""
        self._due = due
        if due < self._rings_at:
            self._arm(due)

    def stop(self) -> None:
        self._timer.cancel()

    def __enter__(self) -> Self:
        self._cancellations = self._task.cancelling()
        self._waiting = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting = False
        if self._bit:
            self._bit = False
            if self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
                raise DeadlinePassedError from error

    def _ring(self) -> None:
        now = self._loop.time()
        if now < self._due:
            self._arm(self._due)
        elif self._waiting:
            self._bit = True
            self._task.cancel()
        else:
            self._arm(now + _LOOK_AGAIN_SECONDS)

    def _arm(self, when: float) -> None:
        self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)
