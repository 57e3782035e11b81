"""The chat worker's migrations: from nothing, again, at once, after a crash, and equal to its tables."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from libs.database.engine import opened_engine
from libs.database.migrations import MigrationFailed, Upgrade, newest, upgrade
from services.chat_worker import tables
from tests.databases import CHAT_MIGRATIONS, TASK_MIGRATIONS

NEWEST = "0001"
ROOT = Path(__file__).parents[2]


async def asked(url: str, question: Any) -> Any:
    """What `question`, a function of a connection, finds in the database."""
    async with opened_engine(url) as engine, engine.begin() as connection:
        return await connection.run_sync(question)


def conversations(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(text("SELECT id, owner, title FROM conversations"))]


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, tables.metadata))


async def test_an_empty_database_gets_the_schema_and_conversation_one(database_url: str) -> None:
    """Older clients expect that conversation."""
    assert await upgrade(database_url, CHAT_MIGRATIONS) == Upgrade(None, NEWEST)
    assert await asked(database_url, conversations) == [(1, "local", "First conversation")]


async def test_a_second_run_changes_nothing(database_url: str) -> None:
    """Also not what people have done since."""
    await upgrade(database_url, CHAT_MIGRATIONS)
    await asked(database_url, lambda connection: connection.execute(text("DELETE FROM conversations")).rowcount)
    assert await upgrade(database_url, CHAT_MIGRATIONS) == Upgrade(NEWEST, NEWEST)
    assert await asked(database_url, conversations) == []


async def test_two_runs_at_once_make_one_schema(database_url: str) -> None:
    """One does it, the other waits and finds it done."""
    results = await asyncio.gather(*(upgrade(database_url, CHAT_MIGRATIONS) for _ in range(3)))
    assert sorted(results, key=str) == [Upgrade(NEWEST, NEWEST)] * 2 + [Upgrade(None, NEWEST)]
    assert await asked(database_url, conversations) == [(1, "local", "First conversation")]


async def test_the_schema_is_the_one_that_the_code_describes(database_url: str) -> None:
    """Alembic finds no difference between the migrated database and tables.py."""
    await upgrade(database_url, CHAT_MIGRATIONS)
    assert await asked(database_url, differences) == []


async def test_the_comparison_would_notice_a_difference(database_url: str) -> None:
    """Otherwise the test above proves nothing."""
    await upgrade(database_url, CHAT_MIGRATIONS)
    await asked(database_url, lambda connection: drop_index(connection, "ix_messages_request_id"))
    assert await asked(database_url, differences) != []


def drop_index(connection: Connection, name: str) -> None:
    on_table = " ON messages" if connection.dialect.name == "mysql" else ""
    connection.execute(text(f"DROP INDEX {name}{on_table}"))


async def test_mariadb_tables_are_transactional_and_compare_bytes(mariadb_chat_url: str) -> None:
    """Whatever the schema's defaults are (the tests' are latin1)."""
    query = text(
        "SELECT table_name, engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name <> 'alembic_version' ORDER BY table_name"
    )
    assert await asked(mariadb_chat_url, lambda connection: [tuple(row) for row in connection.execute(query)]) == [
        ("conversations", "InnoDB", "utf8mb4_bin"),
        ("messages", "InnoDB", "utf8mb4_bin"),
    ]


async def test_a_run_cut_short_on_mariadb_is_completed_by_the_next(mariadb_chat_url: str) -> None:
    """It commits every DDL statement by itself, so a crash leaves a part: here the tables without an index."""

    def undo_the_end(connection: Connection) -> None:
        for statement in (
            "DELETE FROM alembic_version",
            "DELETE FROM conversations",
            "DROP INDEX ix_messages_status_conversation_id_id ON messages",
        ):
            connection.execute(text(statement))

    await asked(mariadb_chat_url, undo_the_end)
    assert await upgrade(mariadb_chat_url, CHAT_MIGRATIONS) == Upgrade(None, NEWEST)
    assert await asked(mariadb_chat_url, differences) == []
    assert await asked(mariadb_chat_url, conversations) == [(1, "local", "First conversation")]


async def test_a_migration_that_fails_leaves_sqlite_as_it_was(tmp_path: Path) -> None:
    """DDL is part of the transaction there."""
    folder = migrations(tmp_path, "op.execute('CREATE TABLE half (id INTEGER)'); op.execute('no SQL')")
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    with pytest.raises(Exception, match="syntax error"):
        await upgrade(url, folder)
    assert await asked(url, lambda connection: inspect(connection).get_table_names()) == []


async def test_rebuilding_an_sqlite_table_deletes_nothing_that_refers_to_it(tmp_path: Path) -> None:
    """SQLite changes a table by dropping the old one; with foreign keys on, that would take the messages along."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    await upgrade(url, CHAT_MIGRATIONS)
    row = "INSERT INTO messages VALUES (1,1,'r','user','complete','x'" + ",NULL" * 9 + ",0,NULL,NULL,'2026','2026')"
    await asked(url, lambda connection: connection.execute(text(row)).rowcount)
    await asked(url, lambda connection: connection.execute(text("DELETE FROM alembic_version")).rowcount)
    rebuild = (
        "with op.batch_alter_table('conversations', recreate='always') as t: t.alter_column('title', nullable=True)"
    )
    await upgrade(url, migrations(tmp_path, rebuild))
    assert await asked(url, lambda connection: connection.scalar(text("SELECT count(*) FROM messages"))) == 1


async def test_a_migration_that_breaks_references_is_refused(tmp_path: Path) -> None:
    """Foreign keys are checked at its end instead, and the database stays as it was."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    breaking = (
        "op.execute('CREATE TABLE a (id INTEGER PRIMARY KEY)'); "
        "op.execute('CREATE TABLE b (a INTEGER REFERENCES a(id))'); op.execute('INSERT INTO b VALUES (7)')"
    )
    with pytest.raises(MigrationFailed, match="refer to rows which do not exist"):
        await upgrade(url, migrations(tmp_path, breaking))
    assert await asked(url, lambda connection: inspect(connection).get_table_names()) == []


async def test_a_database_newer_than_the_code_is_told_in_a_sentence(database_url: str) -> None:
    """Somebody went back to an older version."""
    await upgrade(database_url, CHAT_MIGRATIONS)
    await asked(
        database_url,
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")).rowcount,
    )
    with pytest.raises(MigrationFailed, match="9999"):
        await upgrade(database_url, CHAT_MIGRATIONS)


def migrations(folder: Path, statements: str) -> Path:
    """A folder with one migration that does `statements`."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text((CHAT_MIGRATIONS / "env.py").read_text())
    (versions / "0001.py").write_text(
        f"from alembic import op\nrevision = '0001'\ndown_revision = None\n\ndef upgrade():\n    {statements}\n"
    )
    return versions.parent


@pytest.mark.parametrize("folder", [CHAT_MIGRATIONS, TASK_MIGRATIONS], ids=lambda folder: folder.parent.name)
def test_the_newest_file_is_the_newest_revision(folder: Path) -> None:
    """What Alembic would find out by importing it and all of them."""
    assert newest(folder) == ScriptDirectory(str(folder)).get_current_head()


async def test_where_nothing_is_to_be_done_alembic_is_not_imported(tmp_path: Path) -> None:
    """It takes as long as the whole rest of the provisioning step, at every start."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    await upgrade(url, CHAT_MIGRATIONS)
    program = f"""
import asyncio, pathlib, sys
from libs.database.migrations import upgrade
print(asyncio.run(upgrade({url!r}, pathlib.Path({str(CHAT_MIGRATIONS)!r}))), "alembic" in sys.modules)
"""
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == (f"{Upgrade(NEWEST, NEWEST)} False\n", "")
