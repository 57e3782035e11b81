"""Becomes a child process that cannot outlive its launcher, even one that was killed with SIGKILL.

    launcher ── starts ──▶ tether ── same process, exec ──▶ nats-server | valkey-server | python -m services…

Run as a file by a bare interpreter (`python -I -S tether.py …`), some 20 ms. Not a `preexec_fn`: that would run
Python between fork and exec of a process with threads, which can deadlock. On Linux the kernel sends SIGKILL when the
launcher's thread ends (PR_SET_PDEATHSIG, prctl(2)); elsewhere the guard process does it (`guard.py`).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """`tether.py parent PID COMMAND…` or `tether.py guard FD COMMAND…`."""
    how, number, *command = sys.argv[1:]
    if how == "parent":
        die_with(int(number))
    else:
        report_to_guard(int(number))
    try:
        os.execv(command[0], command)  # noqa: S606 (replacing itself is what this program is for)
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


def die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The launcher ended before the line above: no signal will come any more.
        os._exit(1)


def report_to_guard(pipe: int) -> None:
    """Say one's own pid first. The program must not inherit the pipe: its end is the sign that the launcher is gone."""
    os.write(pipe, f"+{os.getpid()}\n".encode())
    os.set_inheritable(pipe, False)


if __name__ == "__main__":
    main()
