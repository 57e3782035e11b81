"""Which process is the model server: the one that listens where LM_STUDIO_URL points, if that is on this machine.

Where the owner of a port is not told (another user's, or macOS) or the URL is another machine's, it is known by name.
"""

import socket
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

# To ask who listens takes a look at the open files of every process: 17 ms for 80 processes.
LOOK_EVERY_SECONDS = 30.0
DEFAULT_PORTS = {"http": 80, "https": 443}
KNOWN_NAMES = ("lm studio", "lm-studio", "lmstudio", "llmster", "llama-server", "ollama", "vllm", "koboldcpp")


class Found(NamedTuple):
    """Pid None: it runs, but whose it is cannot be seen; or it does not run."""

    running: bool
    pid: int | None


NOT_RUNNING = Found(running=False, pid=None)


class ModelServerFinder:
    """Looks seldom, and stays with what it has found while that lives."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._port = local_port(url)
        self._clock = clock
        self._found = NOT_RUNNING
        self._look_at = clock()

    def find(self, pids: Collection[int], names: Callable[[], Mapping[int, str]]) -> Found:
        """`pids`: the processes that there are; `names` tells what they are called, when that is needed."""
        ended = self._found.pid is not None and self._found.pid not in pids
        if ended or self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_EVERY_SECONDS
            self._found = self._look(names())
        return self._found

    def _look(self, names: Mapping[int, str]) -> Found:
        named = [pid for pid, name in names.items() if name.lower().startswith(KNOWN_NAMES)]
        by_name = Found(running=True, pid=min(named)) if named else NOT_RUNNING
        if self._port is None:
            return by_name
        try:
            listening = [
                connection.pid
                for connection in psutil.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == self._port
            ]
        except psutil.Error:
            return by_name
        if not listening:
            return NOT_RUNNING
        owner = min((pid for pid in listening if pid is not None), default=None)
        return Found(running=True, pid=owner) if owner is not None else Found(running=True, pid=by_name.pid)


def local_port(url: str) -> int | None:
    """The port of a model server on this machine; None: it is on another one, or the URL is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    host = parts.hostname or ""
    local = host in {"localhost", "::1", socket.gethostname().lower()} or host.startswith("127.")
    return port if local else None
