"""The databases that tests run against: an SQLite file, and a MariaDB (given by TEST_MARIADB_URL, or a private one).

Load with `pytest_plugins = ["tests.databases"]`. `database_url` is an empty database of each kind, `chat_url` the
same with the chat worker's schema.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from libs.database.engine import opened_engine
from libs.database.migrations import upgrade

CHAT_MIGRATIONS = Path(__file__).parents[1] / "services" / "chat_worker" / "migrations"
START_SECONDS = 30

KINDS = ["sqlite", "mariadb"]


@pytest.fixture(scope="session")
def mariadb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MariaDB or MySQL server whose user may create databases."""
    given = os.environ.get("TEST_MARIADB_URL")  # noqa: TID251 (a test run has no settings.py)
    if given:
        yield given
        return
    server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")
    install = shutil.which("mariadb-install-db")
    if server is None or install is None:
        reason = "no MariaDB: neither TEST_MARIADB_URL nor mariadbd and mariadb-install-db are there"
        if os.environ.get("CI"):  # noqa: TID251 (as above)
            pytest.fail(reason)
        pytest.skip(reason)
    with _running_mariadb(server, install, tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(params=KINDS)
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database of its own for this test, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
        return
    async with _own_schema(request.getfixturevalue("mariadb_url")) as url:
        yield url


@pytest.fixture
async def chat_url(database_url: str) -> str:
    """A database with the chat worker's schema, as provisioning leaves it."""
    await upgrade(database_url, CHAT_MIGRATIONS)
    return database_url


@pytest.fixture
async def mariadb_chat_url(mariadb_url: str) -> AsyncIterator[str]:
    """The same on MariaDB alone."""
    async with _own_schema(mariadb_url) as url:
        await upgrade(url, CHAT_MIGRATIONS)
        yield url


@asynccontextmanager
async def _own_schema(server_url: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    async with opened_engine(server_url) as engine:
        async with engine.begin() as connection:
            # Not the server's default, so that a table which forgets to say its own is found out.
            await connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET latin1"))
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        async with engine.begin() as connection:
            await connection.execute(text(f"DROP DATABASE {name}"))


@contextmanager
def _running_mariadb(server: str, install: str, folder: Path) -> Iterator[str]:
    data, log = folder / "data", folder / "server.log"
    user = f"--user={getpass.getuser()}"
    subprocess.run(
        [install, "--no-defaults", user, f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
        timeout=START_SECONDS,
    )
    port = _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                server,
                "--no-defaults",
                user,
                f"--datadir={data}",
                f"--socket={folder / 's'}",
                f"--pid-file={folder / 'pid'}",
                "--bind-address=127.0.0.1",
                f"--port={port}",
                "--skip-name-resolve",
                # Nothing here has to survive a power cut.
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-flush-method=nosync",
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=16M",
                "--performance-schema=OFF",
                "--skip-log-bin",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        _wait_for_greeting(port, process, log)
        yield f"mysql+asyncmy://root@127.0.0.1:{port}/mysql"
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def _wait_for_greeting(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if connection.recv(1):  # a MySQL server speaks first
                return
        time.sleep(0.05)
    pytest.fail(f"mariadbd did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
