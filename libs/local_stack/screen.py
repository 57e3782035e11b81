"""What the person who starts the stack sees."""

import contextlib
import time
from collections.abc import Mapping

from libs.bus.addresses import without_password
from libs.local_stack.data_folder import DataFolder, Running

# Where scripts/try looks by itself.
USUAL_URL = "ws://127.0.0.1:3001/ws"


def say(text: str) -> None:
    """One line, at once. A terminal that was closed must not keep the launcher from stopping its children."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def show_ready(folder: DataFolder, running: Mapping[str, Running], *, model: str, seconds: float) -> None:
    """What runs where, and what to do now."""
    say(f"\nReady after {seconds:.1f} s.\n")
    width = max(len(name) for name in running)
    for name, process in running.items():
        say(f"  {name:<{width}}  pid {process.pid:<8} {without_password(process.url)}")
    gateway = next(process for name, process in running.items() if name.startswith("gateway"))
    say(f"\n  Model   {model}")
    elsewhere = "" if gateway.url == USUAL_URL else f" --url {gateway.url}"
    say(f"  Try it  scripts/try{elsewhere}     or connect to {gateway.url}")
    say(f"  Logs    {folder.logs}")
    say("  Ctrl-C stops everything.\n")


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started
