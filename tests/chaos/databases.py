"""The databases under the schedule's hand: SQLite files, or a MariaDB that can be killed and frozen too."""

import asyncio
import getpass
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import text

from libs.database.engine import opened_engine
from tests.chaos.part import Part
from tests.chaos.servers import greets

SERVICES = ("chat_worker", "task_service")
INSTALL_SECONDS = 60
LOCK_SECONDS = 20


class Databases(Protocol):
    """The services' databases. `parts`: the server, if there is one."""

    @property
    def urls(self) -> Mapping[str, str]: ...

    @property
    def parts(self) -> list[Part]: ...

    async def prepare(self) -> None: ...

    async def lock(self, seconds: float) -> None: ...


class SqliteFiles:
    """One file a service; `lock` keeps every other writer waiting."""

    def __init__(self, folder: Path) -> None:
        self._files = {service: folder / f"{service}.db" for service in SERVICES}
        self.urls: Mapping[str, str] = {name: f"sqlite+aiosqlite:///{file}" for name, file in self._files.items()}
        self.parts: list[Part] = []

    async def prepare(self) -> None:
        """Provisioning makes the files."""

    async def lock(self, seconds: float) -> None:
        await asyncio.gather(*(asyncio.to_thread(_hold_lock, file, seconds) for file in self._files.values()))


def _hold_lock(file: Path, seconds: float) -> None:
    connection = sqlite3.connect(file, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


# A commit is with the operating system before it is acknowledged: it survives SIGKILL, as it must, and no power cut.
SURVIVES_SIGKILL = ("--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync")


class MariaDb:
    """A private server with a database for each service. `durable`: as in production, on disk before it is said."""

    def __init__(self, folder: Path, port: int, *, durable: bool = False) -> None:
        server = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")
        install = shutil.which("mariadb-install-db")
        if server is None or install is None:
            raise RuntimeError("no MariaDB here: mariadbd and mariadb-install-db must be installed")
        data, user = folder / "mariadb", f"--user={getpass.getuser()}"
        self._install = [
            install, "--no-defaults", user, f"--datadir={data}", "--auth-root-authentication-method=normal"
        ]  # fmt: skip
        self._server_url = f"mysql+asyncmy://root@127.0.0.1:{port}"
        self.urls: Mapping[str, str] = {service: f"{self._server_url}/chaos_{service}" for service in SERVICES}
        command = [
            server,
            "--no-defaults",
            user,
            f"--datadir={data}",
            f"--socket={folder / 's'}",
            f"--pid-file={folder / 'mariadb.pid'}",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            "--skip-name-resolve",
            *(() if durable else SURVIVES_SIGKILL),
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--performance-schema=OFF",
            "--skip-log-bin",
        ]
        self.parts = [Part("mariadb", "database", command, env={}, folder=folder, ready=greets(port))]

    async def prepare(self) -> None:
        """Installs and starts it, and makes the empty databases."""
        installed = await asyncio.to_thread(
            subprocess.run, self._install, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
        if installed.returncode != 0:
            raise RuntimeError(f"mariadb-install-db failed:\n{installed.stdout[-2000:]}")
        self.parts[0].start()
        await self.parts[0].until_ready()
        async with opened_engine(f"{self._server_url}/mysql") as engine, engine.begin() as connection:
            for service in SERVICES:
                await connection.execute(text(f"CREATE DATABASE chaos_{service}"))

    async def lock(self, seconds: float) -> None:
        """Every other writer waits: no table can be written to."""
        async with opened_engine(f"{self._server_url}/mysql") as engine, engine.connect() as connection:
            await connection.execute(text("FLUSH TABLES WITH READ LOCK"))
            await asyncio.sleep(seconds)
            await connection.execute(text("UNLOCK TABLES"))


async def rows(url: str, query: str) -> list[Any]:
    """What a database holds, asked without the project's own stores."""
    async with opened_engine(url) as engine, engine.connect() as connection:
        return list(await connection.execute(text(query)))
