"""Which process is the model server: the one that listens where LM_STUDIO_URL points, if that is on this machine.

Where the owner of a port is not told (another user's, or macOS) or the URL is another machine's, it is known by name.
"""

import socket
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

LOOK_EVERY_SECONDS = 30.0
CONNECT_SECONDS = 0.25
DEFAULT_PORTS = {"http": 80, "https": 443}
KNOWN_NAMES = ("lm studio", "lm-studio", "lmstudio", "llmster", "llama-server", "ollama", "vllm", "koboldcpp")


class Address(NamedTuple):
    """Where a model server of this machine listens."""

    host: str
    port: int


class Found(NamedTuple):
    """Pid None: it runs, but whose it is cannot be seen; or it does not run."""

    running: bool
    pid: int | None


NOT_RUNNING = Found(running=False, pid=None)


class ModelServerFinder:
    """Looks seldom, and stays with what it has found while that lives."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = local_address(url)
        self._clock = clock
        self._found = NOT_RUNNING
        self._look_at = clock()

    def find(self, pids: Collection[int], names: Callable[[], Mapping[int, str]]) -> Found:
        """`pids`: the processes that there are; `names` tells what they are called, when that is needed."""
        ended = self._found.pid is not None and self._found.pid not in pids
        if ended or self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_EVERY_SECONDS
            known = None if ended else self._found.pid
            self._found = _named(names()) if self._address is None else _listening(self._address, known, names)
        return self._found


def _named(names: Mapping[int, str]) -> Found:
    pids = [pid for pid, name in names.items() if name.lower().startswith(KNOWN_NAMES)]
    return Found(running=True, pid=min(pids)) if pids else NOT_RUNNING


def _listening(address: Address, known: int | None, names: Callable[[], Mapping[int, str]]) -> Found:
    """`known` is who listened there before, and still lives."""
    if not _answers(address):
        return NOT_RUNNING
    pid = known if known is not None else _owner(address.port)
    return Found(running=True, pid=pid if pid is not None else _named(names()).pid)


def _answers(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _owner(port: int) -> int | None:
    """Asked only of a port that answers: it takes a look at every open file of every process, 17 ms for 80 of them."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    return min(
        (
            connection.pid
            for connection in connections
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if connection.pid is not None
        ),
        default=None,
    )


def local_address(url: str) -> Address | None:
    """Where a model server of this machine listens; None: it is on another one, or the URL is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    host = parts.hostname or ""
    local = host in {"localhost", "::1", socket.gethostname().lower()} or host.startswith("127.")
    return Address(host, port) if local and port is not None else None
