"""The one folder in which everything of this installation lives, and the lock that keeps a second launcher out.

data/  nats/  valkey/  <service>.db      what must survive
       logs/                             what the processes say
       run/                              generated configuration, and `stack.json`: what runs right now
"""

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec
import psutil

from libs.local_stack.start_error import StartError

# After a launcher was killed its children die at once, but not before the next launcher can be there.
LAST_CHILD_SECONDS = 3.0
LOG_MAX_BYTES = 10 * 1024**2


class Running(msgspec.Struct, frozen=True):
    """One entry of `stack.json`."""

    pid: int
    url: str
    log: str


class DataFolder:
    """Paths, the lock, and the files that tell about a running stack."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nats = root / "nats"
        self.valkey = root / "valkey"
        self.run = root / "run"
        self.logs = root / "logs"
        self.stack = self.run / "stack.json"
        self.lock: int | None = None

    def database_url(self, service: str) -> str:
        # Quoted: a `?` or `%` in the folder's name would otherwise lead to another file.
        return f"sqlite+aiosqlite:///{quote(str(self.root / f'{service}.db'))}"

    def claim(self) -> None:
        """Make the folder and lock it. Raises StartError when it cannot be written or another launcher has it.

        The lock is handed on to every child, so it is let go when the last process that writes here has ended:
        two NATS servers on one store would both accept messages and lose half of them.
        """
        try:
            for folder in (self.nats, self.valkey, self.run, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
                check_writable(folder)
            self.lock = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(
                f"The data folder {self.root} cannot be written ({error.strerror}): choose another with --data."
            ) from error
        self._take(self.lock)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, str(os.getpid()).encode(), 0)
        # What a killed launcher left there describes nothing that lives.
        self.stack.unlink(missing_ok=True)

    def _take(self, lock: int) -> None:
        deadline = time.monotonic() + LAST_CHILD_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(lock, 20, 0).decode(errors="replace")
                holder_lives = holder.isdigit() and psutil.pid_exists(int(holder))
                if holder_lives or time.monotonic() > deadline:
                    raise StartError(
                        f"The data folder {self.root} is in use by the stack with pid {holder or 'unknown'}: "
                        "stop that one (Ctrl-C), or choose another folder with --data."
                    ) from None
                time.sleep(0.05)
            else:
                return

    @property
    def inherited(self) -> list[int]:
        """The file descriptors for the children: the lock."""
        return [] if self.lock is None else [self.lock]

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def rotate_logs(self) -> None:
        """Put aside each log that has grown long; one older generation is kept."""
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LOG_MAX_BYTES:
                log.replace(log.with_suffix(".log.1"))

    def write_private(self, name: str, text: str) -> Path:
        """A file in `run/` that only this user can read: it holds a password."""
        path = self.run / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def write_stack(self, running: Mapping[str, Running]) -> None:
        """Tell other programs what runs. Replaced as a whole, so a reader never sees half of it."""
        written = self.write_private("stack.json.new", msgspec.json.format(msgspec.json.encode(running)).decode())
        written.replace(self.stack)

    def release(self) -> None:
        """Forget what ran, and let the lock go."""
        self.stack.unlink(missing_ok=True)
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


def check_writable(folder: Path) -> None:
    """Raise OSError unless a file can be made here."""
    probe = folder / f".writable-{os.getpid()}"
    probe.touch()
    probe.unlink()
