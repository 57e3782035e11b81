"""Brings a database to the newest schema with Alembic: no ini file, no output, and safe when two do it at once.

A service keeps its migrations in a folder of its own: `env.py` and `versions/<revision>_<what it does>.py`, in the
order of their names. The folder is found by its path; none of the service's code is needed to run them. Where nothing
is to be done, which is nearly always, Alembic is not even imported: that takes as long as all the rest of the step.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.database.engine import address, opened_engine
from libs.database.transactions import DatabaseUnavailable, in_transaction

# A migration may copy a large table, and whoever comes second waits for it.
DEADLINE_SECONDS = 600.0
LOOK_SECONDS = 0.1

# Server-wide names, hence with the schema's own; a name may have 64 characters.
_LOCK_NAME = "CONCAT('migrations.', MD5(DATABASE()))"


class MigrationFailed(Exception):
    """The schema could not be brought up to date; the message is a sentence that says why."""


class Upgrade(NamedTuple):
    """The schema's revision before (None: there was no schema) and after."""

    before: str | None
    after: str | None


async def upgrade(url: str, folder: Path) -> Upgrade:
    """Runs the migrations in `folder` that the database at `url` has not seen. Idempotent.

    Raises `BadDatabaseUrl`, `DatabaseUnavailable`, `MigrationFailed`.
    """

    # SQLite's way to change a table is to copy it and drop the old one, which with foreign keys on would delete
    # every row that refers to it (https://www.sqlite.org/lang_altertable.html, the twelve steps).
    async with opened_engine(url, check_foreign_keys=False) as engine:
        revision = await in_transaction(engine, _revision, read_only=True)
        if revision is not None and revision == newest(folder):
            return Upgrade(revision, revision)
        from alembic.util import CommandError  # noqa: PLC0415 (imported only when needed, see above)

        try:
            async with _alone(engine):
                return await in_transaction(engine, lambda db: _upgrade(db, folder), deadline_seconds=DEADLINE_SECONDS)
        except CommandError as error:
            raise MigrationFailed(f"The schema of {address(engine)} cannot be upgraded: {error}.") from error


async def until_migrated(engine: AsyncEngine, folder: Path, *, seconds: float) -> None:
    """Waits for the provisioning step to bring the schema to what is in `folder`, or further.

    Raises `DatabaseUnavailable`, or `MigrationFailed` when it has not come in time.
    """
    wanted = newest(folder) or ""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        late = loop.time() > deadline
        try:
            if (await in_transaction(engine, _revision, read_only=True) or "") >= wanted:
                return
        except DatabaseUnavailable:
            if late:
                raise
        if late:
            raise MigrationFailed(
                f"The schema of {address(engine)} is not at revision {wanted}. Run the provisioning step."
            )
        await asyncio.sleep(LOOK_SECONDS)


def newest(folder: Path) -> str | None:
    """The revision to which these migrations lead, by the names of their files."""
    return max((file.name.partition("_")[0] for file in (folder / "versions").glob("[0-9]*_*.py")), default=None)


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    if engine.dialect.name == "sqlite":
        # The transaction begins with the write lock, and DDL is part of it.
        yield
        return
    # MySQL commits at every DDL statement, so only a lock beside the transaction lasts to its end.
    async with asyncio.timeout(DEADLINE_SECONDS), engine.connect() as connection:
        wait = int(DEADLINE_SECONDS / 2)
        got = await connection.scalar(text(f"SELECT GET_LOCK({_LOCK_NAME}, {wait})"))
        if got != 1:
            raise MigrationFailed(f"Somebody else has been upgrading {address(engine)} for {wait} s.")
        try:
            yield
        finally:
            await connection.execute(text(f"DO RELEASE_LOCK({_LOCK_NAME})"))


def _upgrade(connection: Connection, folder: Path) -> Upgrade:
    from alembic import command  # noqa: PLC0415 (as above)
    from alembic.config import Config  # noqa: PLC0415 (as above)

    before = _revision(connection)
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise MigrationFailed("A migration left rows that refer to rows which do not exist; nothing was changed.")
    return Upgrade(before, _revision(connection))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
