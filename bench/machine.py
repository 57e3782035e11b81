"""Where it was measured: without that no number means anything."""

import importlib.metadata
import platform
import sqlite3
import subprocess
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.processes import ROOT

PACKAGES = ("fastapi", "httptools", "httpx", "msgspec", "nats-py", "uvicorn", "uvloop", "websockets")
CPU_INFO = Path("/proc/cpuinfo")


def description() -> dict[str, Any]:
    """What does not change while it is measured."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": psutil.cpu_count(),
        "cpu": _cpu_model(),
        "memoryGiB": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            "nats-server": _said([str(Path(sysconfig.get_path("scripts")) / "nats-server"), "--version"]),
            "sqlite": sqlite3.sqlite_version,
        },
        "commit": _said(["git", "describe", "--always", "--dirty"]),
    }


def load() -> list[float]:
    """Processes that ran or waited to, on the average of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in psutil.getloadavg()]


def _cpu_model() -> str:
    if not CPU_INFO.exists():
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in CPU_INFO.read_text().splitlines() if "model name" in line]
    return models[0] if models else platform.machine()


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
