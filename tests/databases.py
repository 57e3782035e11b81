"""The databases that tests run against: an SQLite file, and a MariaDB (given by TEST_MARIADB_URL, or a private one).

`database_url` is an empty database of each kind; `chat_url` and `task_url` are the services' own, as provisioned.
"""

import asyncio
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from libs.database.engine import opened_engine
from libs.database.migrations import upgrade
from tests.brokers import free_port

SERVICES = Path(__file__).parents[1] / "services"
CHAT_MIGRATIONS = SERVICES / "chat_worker" / "migrations"
TASK_MIGRATIONS = SERVICES / "task_service" / "migrations"
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
    async with own_schema(request.getfixturevalue("mariadb_url")) as url:
        yield url


@pytest.fixture(params=KINDS)
async def chat_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The chat worker's database as provisioning leaves it, of each kind. Its schema is not to be changed."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{shutil.copy(request.getfixturevalue('sqlite_chat_file'), tmp_path / 'chat.db')}"
    url: str = request.getfixturevalue("mariadb_chat_schema")
    await _emptied(url, "messages", "conversations")
    await _execute(url, "INSERT INTO conversations VALUES (1, 'local', 'First conversation', NULL, NOW(3), NOW(3))")
    return url


@pytest.fixture(params=KINDS)
async def task_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same for the task service."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{shutil.copy(request.getfixturevalue('sqlite_task_file'), tmp_path / 'task.db')}"
    url: str = request.getfixturevalue("mariadb_task_schema")
    await _emptied(url, "task_frames", "task_events", "subtasks", "tasks")
    await _execute(
        url,
        "INSERT INTO tasks VALUES "
        "(1, 'local', 'First task', '', 'pending', 'medium', 0, 1, 'first task\\n', NOW(3), NOW(3), NULL)",
        "INSERT INTO task_events VALUES (1, 1, 'create', 'local', NULL, '{}', NOW(3))",
    )
    return url


@pytest.fixture(scope="session")
def sqlite_chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, copied for each test: that takes a tenth of the time."""
    return _migrated_file(tmp_path_factory, CHAT_MIGRATIONS)


@pytest.fixture(scope="session")
def sqlite_task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the task service."""
    return _migrated_file(tmp_path_factory, TASK_MIGRATIONS)


@pytest.fixture(scope="session")
def mariadb_chat_schema(mariadb_url: str) -> Iterator[str]:
    """Made once, emptied for each test."""
    with _migrated_schema(mariadb_url, CHAT_MIGRATIONS) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_task_schema(mariadb_url: str) -> Iterator[str]:
    """The same for the task service."""
    with _migrated_schema(mariadb_url, TASK_MIGRATIONS) as url:
        yield url


@pytest.fixture
async def mariadb_chat_url(mariadb_url: str) -> AsyncIterator[str]:
    """The chat worker's database on MariaDB, for this test alone."""
    async with own_schema(mariadb_url) as url:
        await upgrade(url, CHAT_MIGRATIONS)
        yield url


@asynccontextmanager
async def own_schema(server_url: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(8)}"
    await _create_schema(server_url, name)
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    await _execute(server_url, f"DROP DATABASE {name}")


async def _create_schema(server_url: str, name: str) -> None:
    # Not the server's default, so that a table which forgets to say its own is found out.
    await _execute(server_url, f"CREATE DATABASE {name} CHARACTER SET latin1")


async def _emptied(url: str, *tables: str) -> None:
    # Else no table that another refers to could be truncated.
    await _execute(url, "SET FOREIGN_KEY_CHECKS = 0", *(f"TRUNCATE {table}" for table in tables))


def _migrated_file(factory: pytest.TempPathFactory, migrations: Path) -> Path:
    file = factory.mktemp("sqlite") / "migrated.db"
    _run(upgrade(f"sqlite+aiosqlite:///{file}", migrations))
    return file


@contextmanager
def _migrated_schema(server_url: str, migrations: Path) -> Iterator[str]:
    url = make_url(server_url).set(database=f"test_{secrets.token_hex(8)}")
    _run(_create_schema(server_url, str(url.database)))
    shown = url.render_as_string(hide_password=False)
    _run(upgrade(shown, migrations))
    yield shown
    _run(_execute(server_url, f"DROP DATABASE {url.database}"))


async def _execute(url: str, *statements: str) -> None:
    async with opened_engine(url) as engine, engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


def _run(coroutine: Coroutine[Any, Any, object]) -> None:
    """On a loop of its own: a session's fixture may be asked for while the test's loop runs."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result(timeout=60)


@contextmanager
def _running_mariadb(server: str, install: str, folder: Path) -> Iterator[str]:
    data, temporary, log = folder / "data", folder / "tmp", folder / "server.log"
    temporary.mkdir()
    # Not the system's: a server that starts removes the temporary tables that it finds there, also another one's.
    env = {**os.environ, "TMPDIR": str(temporary)}  # noqa: TID251 (as above)
    user = f"--user={getpass.getuser()}"
    installed = subprocess.run(
        [install, "--no-defaults", user, f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=False,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_SECONDS,
    )
    if installed.returncode != 0:
        pytest.fail(f"mariadb-install-db failed:\n{installed.stdout[-2000:]}")
    port = free_port()
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
            env=env,
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
