"""What `open_engine` promises, asked of the servers themselves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.database.clock import now_ms
from libs.database.engine import BadDatabaseUrl, address, open_engine, opened_engine
from libs.database.types import UtcDateTime

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100)),
    Column("at", UtcDateTime),
    mysql_charset="utf8mb4",
)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose database holds the empty table `things`."""
    async with opened_engine(database_url) as engine:
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        yield engine


async def test_sqlite_is_durable_checked_and_lets_readers_read_on(tmp_path: Path) -> None:
    """WAL, synchronous=FULL (2), foreign keys, and 5 s of patience with locks; folders are made."""
    async with (
        opened_engine(f"sqlite+aiosqlite:///{tmp_path}/new/folder/x.db") as engine,
        engine.connect() as connection,
    ):
        settings = [
            await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", 2, 1, 5000]


async def test_a_mariadb_session_is_strict_utc_and_reads_what_is_committed(mariadb_url: str) -> None:
    """Whatever the server's own defaults are."""
    async with opened_engine(mariadb_url) as engine, engine.connect() as connection:
        assert await connection.scalar(text("SELECT @@session.time_zone")) == "+00:00"
        assert await connection.scalar(text("SELECT @@session.character_set_connection")) == "utf8mb4"
        assert await connection.scalar(text("SELECT @@session.innodb_lock_wait_timeout")) == 5
        assert "STRICT_TRANS_TABLES" in str(await connection.scalar(text("SELECT @@session.sql_mode")))
        assert await connection.get_isolation_level() == "READ COMMITTED"


async def test_the_row_count_of_an_update_is_the_rows_it_matched(engine: AsyncEngine) -> None:
    """Compare-and-set relies on it; MySQL by itself counts the changed ones."""
    async with engine.begin() as connection:
        await connection.execute(insert(things).values(id=1, name="same"))
        again = await connection.execute(update(things).where(things.c.id == 1).values(name="same"))
        nothing = await connection.execute(update(things).where(things.c.id == 2).values(name="same"))
    assert (again.rowcount, nothing.rowcount) == (1, 0)


async def test_text_is_full_unicode(engine: AsyncEngine) -> None:
    """In and out unchanged."""
    name = "Ação, coração 🥐👩‍👩‍👧‍👦🇧🇷 'quoted' \\ %s"
    async with engine.begin() as connection:
        await connection.execute(insert(things).values(id=1, name=name))
        assert await connection.scalar(select(things.c.name)) == name


async def test_a_moment_comes_back_as_the_same_moment_in_utc(engine: AsyncEngine) -> None:
    """Given in São Paulo's time, cut (not rounded up) to milliseconds."""
    given = datetime(2026, 1, 31, 22, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=-3)))
    async with engine.begin() as connection:
        await connection.execute(insert(things), [{"id": 1, "at": given}, {"id": 2, "at": None}])
        stored = list(await connection.scalars(select(things.c.at).order_by(things.c.id)))
    assert stored == [datetime(2026, 2, 1, 1, 59, 59, 999_000, tzinfo=UTC), None]
    assert stored[0].tzinfo is UTC


async def test_a_moment_without_time_zone_is_refused(engine: AsyncEngine) -> None:
    """Nobody knows when it was."""
    async with engine.begin() as connection:
        with pytest.raises(StatementError, match="has no time zone"):
            await connection.execute(insert(things).values(id=1, at=datetime(2026, 1, 1)))  # noqa: DTZ001


async def test_the_database_tells_its_time_in_unix_milliseconds(engine: AsyncEngine) -> None:
    """On one machine it lies between two looks at our own clock."""
    async with engine.connect() as connection:
        before = datetime.now(UTC).timestamp() * 1000
        told = await connection.scalar(select(now_ms()))
        after = datetime.now(UTC).timestamp() * 1000
    assert isinstance(told, int)
    assert before - 1 <= told <= after + 1


async def test_an_error_shows_no_values(engine: AsyncEngine) -> None:
    """Message texts are values, and errors are logged."""
    async with engine.begin() as connection:
        await connection.execute(insert(things).values(id=1))
        with pytest.raises(IntegrityError) as caught:
            await connection.execute(insert(things).values(id=1, name="a private word"))
    assert "private" not in str(caught.value)


async def test_sqlite_writers_take_turns_instead_of_failing(tmp_path: Path) -> None:
    """Two transactions that read and then write: the second waits at its start, and sees what the first wrote."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    async with opened_engine(url) as one, opened_engine(url) as other:
        async with one.begin() as connection:
            await connection.run_sync(metadata.create_all)

        async def add_one(engine: AsyncEngine) -> None:
            async with engine.begin() as connection:
                highest = max([*await connection.scalars(select(things.c.id)), 0])
                await connection.execute(insert(things).values(id=highest + 1))

        await asyncio.gather(*(add_one(engine) for engine in (one, other) * 5))
        async with one.connect() as connection:
            assert list(await connection.scalars(select(things.c.id).order_by(things.c.id))) == list(range(1, 11))


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "postgresql://user:secret@host/db", "sqlite:///x.db", "sqlite+aiosqlite://", "mysql+asyncmy:host"],
)
def test_a_url_of_no_use_is_told_in_a_sentence(url: str) -> None:
    """Without the password that it may hold."""
    with pytest.raises(BadDatabaseUrl) as caught:
        open_engine(url)
    assert str(caught.value).endswith(".")
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "file").touch()
    with pytest.raises(BadDatabaseUrl, match="folder"):
        open_engine(f"sqlite+aiosqlite:///{tmp_path}/file/x.db")


def test_the_address_shown_to_people_holds_no_password() -> None:
    """Nor the user."""
    assert address(open_engine("mysql+asyncmy://user:secret@db.example/chat")) == "db.example:3306/chat"
