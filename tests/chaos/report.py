"""What the suite prints: a line every few seconds, then faults, times, verdict; and the story of a broken promise."""

import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from tests.chaos.journal import Broken, Entry, Journal
from tests.chaos.rest import MIB
from tests.chaos.room import Room
from tests.chaos.world import World

# Around the first broken promise.
BEFORE_SECONDS = 2.0
AFTER_SECONDS = 1.0
MOST_LINES = 120
# SIGKILL or SIGSTOP, if it is done to a process.
HARD = {"kill", "freeze", "poison", "wipe", "away"}


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(room: Room, active: list[str]) -> None:
    """One line: how far, how much, and what is broken at this moment."""
    journal = room.journal
    done = journal.counted["task changes acknowledged"]
    say(
        f"{journal.now():6.0f} s  faults {len(journal.faults):4}  answers {room.ended()}/{len(room.asked)}  "
        f"tasks {done}  broken promises {len(journal.violations)}  now: {', '.join(active) or 'all well'}"
    )


def summary(journal: Journal, world: World) -> None:
    """Faults by kind, counts, times, and what every kind of process has held at most."""
    say("\nfaults by kind")
    by_kind = Counter((fault.kind, fault.action) for fault in journal.faults)
    for kind in sorted({kind for kind, _ in by_kind}):
        actions = {action: count for (of, action), count in by_kind.items() if of == kind}
        told = ", ".join(f"{action} {count}" for action, count in sorted(actions.items()))
        say(f"  {kind:<14} {sum(actions.values()):4}  {told}")
    processes = {part.kind for part in world.parts.values()}
    hard = [kind for kind, action in by_kind.elements() if action in HARD and kind in processes]
    say(f"  {len(journal.faults)} in all, {len(hard)} of them kills and freezes of processes")
    say("\nwhat happened")
    for name, count in sorted(journal.counted.items()):
        say(f"  {name:<48} {count:6}")
    say("\nhow long it took, in seconds")
    for name, seconds in sorted(journal.durations.items()):
        say(f"  {name:<48} {_percentiles(seconds)}")
    for name, most in sorted(journal.highest.items()):
        say(f"\nmost {name}: {most:.0f}")
    say("\nmost memory, in MiB")
    for kind in sorted({part.kind for part in world.services()}):
        say(f"  {kind:<14} {max(part.highest_rss for part in world.of(kind)) / MIB:4.0f}")


def _percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return f"p50 {statistics.median(ordered):7.3f}  p95 {at(0.95):7.3f}  p99 {at(0.99):7.3f}  of {len(ordered)}"


def verdict(journal: Journal, world: World, *, command: str) -> bool:
    """Prints it; True: every promise has held."""
    if not journal.violations:
        say(f"\nEvery promise has held.  {command}")
        return True
    say(f"\n{len(journal.violations)} broken promises:")
    by_promise = Counter((broken.promise, _without_numbers(broken.what)) for broken in journal.violations)
    for (promise, what), count in by_promise.most_common():
        say(f"  {count:4} x  {promise.value} {promise.name.lower()}: {what}")
    for promise in sorted({broken.promise for broken in journal.violations}):
        first = min((one for one in journal.violations if one.promise is promise), key=lambda broken: broken.since)
        say(f"\nThe first of {promise.value} {promise.name.lower()}: {first.what} ({first.about})")
        for line in _timeline(journal, world, first):
            say(f"  {line}")
    say(f"\nAgain: {command}")
    return False


def _without_numbers(what: str) -> str:
    return re.sub(r"[0-9]+", "#", what)[:100]


def _timeline(journal: Journal, world: World, broken: Broken) -> list[str]:
    begin, end = broken.since - BEFORE_SECONDS, broken.at + AFTER_SECONDS
    entries = [
        entry for entry in journal.entries if broken.about in (entry.about, "") or entry.what.startswith("BROKEN")
    ]
    for fault in journal.faults:
        entries.append(Entry(fault.at, f"FAULT {fault.action} {fault.target}", ""))
        if fault.lifted_at is not None:
            entries.append(Entry(fault.lifted_at, f"FAULT OVER {fault.action} {fault.target}", ""))
    if broken.about:
        entries += _logged(journal, (part.log for part in world.parts.values()), broken.about)
    inside = sorted(entry for entry in entries if begin <= entry.at <= end)
    # The beginning and the end of a long story tell most.
    if len(inside) > MOST_LINES:
        left_out = Entry(inside[MOST_LINES // 2].at, f"… {len(inside) - MOST_LINES} lines …", "")
        inside = [*inside[: MOST_LINES // 2], left_out, *inside[-MOST_LINES // 2 :]]
    return [f"{entry.at:9.3f}  {entry.what}" for entry in inside]


def _logged(journal: Journal, logs: Iterable[Path], about: str) -> list[Entry]:
    """What the processes themselves have logged about it."""
    found = []
    for log in logs:
        if not log.exists():
            continue
        for line in log.read_text(errors="replace").splitlines():
            # A request, or everything that the process of this name had to say.
            if not line.startswith("{") or (about not in line and log.stem != about):
                continue
            logged = json.loads(line)
            at = journal.at_wall(datetime.fromisoformat(logged.pop("time")).timestamp())
            event, *more = logged.pop("event"), *(f"{key}={value}" for key, value in logged.items() if key != "service")
            found.append(Entry(at, f"[{log.stem}] {event}  {' '.join(more)}"[:300], about))
    return found
