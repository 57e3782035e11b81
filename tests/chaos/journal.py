"""What happened when, seen from outside: faults, what clients did and saw, broken promises, how long things took.

schedule ── Fault ──▶ Journal ◀── note, broken, took ── clients, checks
                         └─▶ report: progress, verdict, the timeline around the first broken promise
"""

import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple


class Promise(IntEnum):
    """What the system promises, whatever dies. The verdict names them."""

    CHAT = 1
    RESUME = 2
    TAKEOVER = 3
    TASKS = 4
    SLOW_AND_DEAD_CLIENTS = 5
    DRAIN = 6
    DEPENDENCIES_AWAY = 7


@dataclass
class Fault:
    """Something was done to `target`. It is undone at `lifted_at`, and without effect on the target from `ended_at`."""

    at: float
    kind: str
    target: str
    action: str
    lifted_at: float | None = None
    ended_at: float | None = None


class Entry(NamedTuple):
    """One line of the timeline. `about`: the request, task or process that it concerns."""

    at: float
    what: str
    about: str


class Broken(NamedTuple):
    """A promise that did not hold, and since when its story goes."""

    at: float
    since: float
    promise: Promise
    what: str
    about: str


@dataclass
class Journal:
    """Everything in seconds since the run began."""

    began: float = field(default_factory=time.monotonic)
    began_wall: float = field(default_factory=time.time)
    faults: list[Fault] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    violations: list[Broken] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    durations: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    highest: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What was counted now and then, at most."""

    def now(self) -> float:
        return time.monotonic() - self.began

    def at_wall(self, moment: float) -> float:
        """A time of the wall clock, as the logs of the processes have it."""
        return moment - self.began_wall

    def note(self, what: str, *, about: str = "") -> None:
        self.entries.append(Entry(self.now(), what, about))

    def fault(self, kind: str, target: str, action: str) -> Fault:
        fault = Fault(self.now(), kind, target, action)
        self.faults.append(fault)
        return fault

    def lifted(self, fault: Fault) -> None:
        fault.lifted_at = self.now()

    def over(self, fault: Fault) -> None:
        fault.ended_at = self.now()

    def broken(
        self, promise: Promise, what: str, *, about: str = "", since: float | None = None, at: float | None = None
    ) -> None:
        """`at`: when it was broken, if that is judged later than at once."""
        at = self.now() if at is None else at
        self.violations.append(Broken(at, at if since is None else since, promise, what, about))
        self.entries.append(Entry(at, f"BROKEN {promise.value} {promise.name.lower()}: {what}", about))

    def count(self, name: str) -> None:
        self.counted[name] += 1

    def took(self, name: str, seconds: float) -> None:
        self.durations[name].append(seconds)

    def hit(
        self,
        since: float,
        until: float,
        *,
        kinds: Collection[str] = (),
        targets: Collection[str] = (),
        but: Fault | None = None,
    ) -> bool:
        """Whether any fault of these kinds, or against these targets, was in force in this time; `but` aside."""
        return any(
            (fault.kind in kinds or fault.target in targets)
            and fault is not but
            and fault.at <= until
            and (fault.ended_at is None or fault.ended_at >= since)
            for fault in self.faults
        )
