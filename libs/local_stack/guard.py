"""Ends the children of a launcher that was killed, where the kernel does not (macOS).

    launcher ──┬── pipe ──▶ guard     "+123": a child has started, "-123": it has ended, end of file: no launcher
    tether   ──┘

Every child reports itself through its tether before it becomes its program, so none can be missed.
"""

import contextlib
import os
import signal
import sys
from typing import TextIO


def watch(pipe: TextIO) -> set[int]:
    """Read until the launcher is gone. Returns the children that are left."""
    children: set[int] = set()
    for line in pipe:
        pid = int(line[1:])
        if line[0] == "+":
            children.add(pid)
        else:
            children.discard(pid)
    return children


def main() -> None:
    for pid in watch(sys.stdin):
        # Every child leads a process group of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
