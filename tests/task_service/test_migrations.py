"""The task service's migrations: from nothing, again, after a crash, and equal to its tables."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from libs.database.engine import opened_engine
from libs.database.migrations import Upgrade, upgrade
from services.task_service import tables
from services.task_service.store import Store
from services.task_service.store_frames import Unpublished
from tests.databases import TASK_MIGRATIONS, own_schema

NEWEST = "0002"


async def asked(url: str, question: Any) -> Any:
    """What `question`, a function of a connection, finds in the database."""
    async with opened_engine(url) as engine, engine.begin() as connection:
        return await connection.run_sync(question)


def first_task(connection: Connection) -> list[tuple[Any, ...]]:
    query = (
        "SELECT tasks.id, tasks.owner, title, status, priority, progress, tasks.revision, task_events.revision "
        "FROM tasks JOIN task_events ON task_id = tasks.id"
    )
    return [tuple(row) for row in connection.execute(text(query))]


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, tables.metadata))


THE_FIRST = [(1, "local", "First task", "pending", "medium", 0, 1, 1)]


async def test_an_empty_database_gets_the_schema_and_task_one(database_url: str) -> None:
    """Older clients expect that task; a second run changes nothing."""
    assert await upgrade(database_url, TASK_MIGRATIONS) == Upgrade(None, NEWEST)
    assert await upgrade(database_url, TASK_MIGRATIONS) == Upgrade(NEWEST, NEWEST)
    assert await asked(database_url, first_task) == THE_FIRST


async def test_the_schema_is_the_one_that_the_code_describes(database_url: str) -> None:
    """Alembic finds no difference between the migrated database and tables.py, and would find one."""
    await upgrade(database_url, TASK_MIGRATIONS)
    assert await asked(database_url, differences) == []
    await asked(database_url, lambda connection: connection.execute(text("DROP TABLE task_frames")).rowcount)
    assert await asked(database_url, differences) != []


async def test_mariadb_tables_are_transactional_and_compare_bytes(mariadb_url: str) -> None:
    """Whatever the schema's defaults are (the tests' are latin1)."""
    query = text(
        "SELECT table_name, engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name <> 'alembic_version'"
    )
    async with own_schema(mariadb_url) as url:
        await upgrade(url, TASK_MIGRATIONS)
        found = await asked(url, lambda connection: {tuple(row) for row in connection.execute(query)})
    assert found == {(name, "InnoDB", "utf8mb4_bin") for name in ("subtasks", "task_events", "task_frames", "tasks")}


async def test_a_run_cut_short_on_mariadb_is_completed_by_the_next(mariadb_url: str) -> None:
    """It commits every DDL statement by itself, so a crash leaves a part: here all but an index and the rows."""

    def undo_the_end(connection: Connection) -> None:
        for statement in (
            "DELETE FROM alembic_version",
            "DELETE FROM tasks",
            "DROP INDEX ix_tasks_owner_status_id ON tasks",
        ):
            connection.execute(text(statement))

    async with own_schema(mariadb_url) as url:
        await upgrade(url, TASK_MIGRATIONS)
        await asked(url, undo_the_end)
        assert await upgrade(url, TASK_MIGRATIONS) == Upgrade(None, NEWEST)
        assert await asked(url, differences) == []
        assert await asked(url, first_task) == THE_FIRST


async def test_frames_that_waited_in_the_outbox_still_wait(database_url: str) -> None:
    """An installation from before: what it had not published yet is published by the new service."""

    def as_before(connection: Connection) -> None:
        for statement in (
            "DROP TABLE task_frames",
            "CREATE TABLE outbox (id INTEGER PRIMARY KEY, task_id INTEGER, revision INTEGER, payload BLOB)",
            "INSERT INTO outbox VALUES (1, 7, 3, x'33'), (2, 7, 4, x'34')",
            "UPDATE alembic_version SET version_num = '0001'",
        ):
            connection.execute(text(statement))

    await upgrade(database_url, TASK_MIGRATIONS)
    await asked(database_url, as_before)
    assert await upgrade(database_url, TASK_MIGRATIONS) == Upgrade("0001", NEWEST)
    assert await asked(database_url, differences) == []
    async with opened_engine(database_url) as engine:
        waiting: list[Unpublished] = []

        async def send(rows: list[Unpublished]) -> None:
            waiting.extend(rows)

        await Store(engine).publish(send, limit=10, age_ms=1000)
    assert waiting == [Unpublished(7, 3, b"3"), Unpublished(7, 4, b"4")]
