"""Units of work under rivals, cuts and frozen networks."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, insert, make_url, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from libs.contract.errors import ErrorCode
from libs.database import engine as engines
from libs.database.engine import opened_engine
from libs.database.transactions import DatabaseUnavailable, check, in_transaction, ping
from tests.database.relay import relay
from tests.databases import own_schema

metadata = MetaData()
counters = Table("counters", metadata, Column("id", Integer, primary_key=True), Column("value", Integer))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose database holds two counters at 0."""
    async with opened_engine(database_url) as engine:
        await in_transaction(engine, create_counters)
        yield engine


def create_counters(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.execute(insert(counters), [{"id": 1, "value": 0}, {"id": 2, "value": 0}])


def values(connection: Connection) -> list[int]:
    return list(connection.scalars(select(counters.c.value).order_by(counters.c.id)))


def increment(connection: Connection, counter: int) -> None:
    connection.execute(update(counters).where(counters.c.id == counter).values(value=counters.c.value + 1))


async def test_work_that_raises_leaves_no_trace(engine: AsyncEngine) -> None:
    """All or nothing; the exception itself comes through unchanged."""

    def work(connection: Connection) -> None:
        increment(connection, 1)
        connection.execute(insert(counters).values(id=1, value=0))

    with pytest.raises(IntegrityError):
        await in_transaction(engine, work)
    assert await in_transaction(engine, values, read_only=True) == [0, 0]


async def test_work_that_is_cancelled_leaves_no_trace_and_no_lock(engine: AsyncEngine) -> None:
    """A worker that stops in the middle of it."""
    inside = asyncio.Event()

    def work(connection: Connection) -> None:
        increment(connection, 1)
        inside.set()
        await_only(asyncio.Event().wait())

    task = asyncio.create_task(in_transaction(engine, work))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await in_transaction(engine, lambda connection: increment(connection, 1))
    assert await in_transaction(engine, values, read_only=True) == [1, 0]


async def test_a_deadlock_is_resolved_by_repeating_the_loser(engine: AsyncEngine) -> None:
    """Two units lock two rows in opposite order: the database ends one of them, and both get done."""
    both_inside = asyncio.Barrier(2)
    runs = 0

    def work(connection: Connection, first: int, second: int) -> None:
        nonlocal runs
        runs += 1
        increment(connection, first)
        if runs <= 2 and engine.dialect.name == "mysql":  # on SQLite writers take turns from their first statement
            await_only(both_inside.wait())
        increment(connection, second)

    await asyncio.gather(
        in_transaction(engine, lambda connection: work(connection, 1, 2)),
        in_transaction(engine, lambda connection: work(connection, 2, 1)),
    )
    assert await in_transaction(engine, values, read_only=True) == [2, 2]
    assert runs == (3 if engine.dialect.name == "mysql" else 2)


async def test_a_deadline_ends_the_waiting(engine: AsyncEngine) -> None:
    """The sentence says how long was waited, and the engine is of use afterwards."""

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        await_only(asyncio.Event().wait())

    with pytest.raises(DatabaseUnavailable, match=r"no answer within 0\.1 s"):
        await in_transaction(engine, work, deadline_seconds=0.1)
    await ping(engine)


async def test_a_statement_that_is_wrong_is_not_called_an_outage(engine: AsyncEngine) -> None:
    """A missing table is a defect: repeating the request would not help."""

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(Exception, match="no_such_table") as caught:
        await in_transaction(engine, work)
    assert not isinstance(caught.value, DatabaseUnavailable)


async def test_sqlite_locked_by_somebody_else_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the attempts, not for ever."""
    monkeypatch.setattr("libs.database.engine.LOCK_WAIT_SECONDS", 0.05)
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    async with opened_engine(url) as engine, opened_engine(url) as other:
        await in_transaction(engine, create_counters)
        async with other.begin():
            with pytest.raises(DatabaseUnavailable, match="locks were not free in 5 attempts"):
                await in_transaction(engine, lambda connection: increment(connection, 1))
            assert await in_transaction(engine, values, read_only=True) == [0, 0]
        await in_transaction(engine, lambda connection: increment(connection, 1))


async def test_an_sqlite_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """Told in a sentence with its path."""
    (tmp_path / "x.db").write_text("this is a text file, and no database " * 100)
    async with opened_engine(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}") as engine:
        with pytest.raises(DatabaseUnavailable, match=r"x\.db cannot be used at the moment: file is not a database"):
            await ping(engine)


async def test_nobody_at_the_address_is_unavailable(mariadb_url: str) -> None:
    """The sentence names the address, the error asks for a repeat; neither holds the password."""
    url = make_url(mariadb_url).set(host="127.0.0.1", port=1, password="secret")  # noqa: S106 (no real one)
    async with opened_engine(url.render_as_string(hide_password=False)) as engine:
        with pytest.raises(DatabaseUnavailable) as caught:
            await ping(engine)
    assert caught.value.message.startswith("The database 127.0.0.1:1/mysql cannot be used at the moment: ")
    assert (caught.value.code, "secret" in str(caught.value)) == (ErrorCode.SERVICE_UNAVAILABLE, False)


async def test_a_wrong_password_is_unavailable(mariadb_url: str) -> None:
    """It is told as what it is, without the password."""
    url = make_url(mariadb_url).set(username="nobody", password="secret")  # noqa: S106 (no real one)
    async with opened_engine(url.render_as_string(hide_password=False)) as engine:
        with pytest.raises(DatabaseUnavailable, match="Access denied") as caught:
            await ping(engine)
    assert "secret" not in str(caught.value)


async def test_a_cut_connection_is_unavailable_once_and_then_replaced(mariadb_url: str) -> None:
    """In the middle of a unit of work it is told; a connection that broke while idle is replaced unnoticed."""
    server = make_url(mariadb_url)
    async with relay(str(server.host), server.port or 3306) as between:
        url = server.set(host="127.0.0.1", port=between.port).render_as_string(hide_password=False)
        async with opened_engine(url) as engine:
            await ping(engine)
            between.cut()
            await ping(engine)

            def work(connection: Connection) -> None:
                between.cut()
                connection.execute(text("SELECT 1"))

            with pytest.raises(DatabaseUnavailable):
                await in_transaction(engine, work)
            await ping(engine)


async def test_a_server_that_hangs_up_in_the_handshake_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncmy's own words for a transport that was closed before its first use, when the machine is busy."""

    async def hangs_up(**_: object) -> None:
        raise RuntimeError("Transport does not expose socket instance")

    monkeypatch.setattr("asyncmy.connect", hangs_up)
    async with opened_engine("mysql+asyncmy://root@127.0.0.1:1/test") as engine:
        with pytest.raises(DatabaseUnavailable, match="hangs up"):
            await ping(engine)


async def test_a_frozen_network_is_noticed_by_the_ping_in_time(mariadb_url: str) -> None:
    """Readiness has to be told within 2 s, with connections in the pool and without; then all recovers by itself."""
    server = make_url(mariadb_url)
    async with relay(str(server.host), server.port or 3306) as between:
        url = server.set(host="127.0.0.1", port=between.port).render_as_string(hide_password=False)
        async with opened_engine(url) as engine:
            await ping(engine)
            between.freeze()
            for _ in range(2):
                started = time.monotonic()
                with pytest.raises(DatabaseUnavailable, match="no answer within"):
                    await ping(engine)
                assert time.monotonic() - started < 2
            between.thaw()
            await ping(engine)


async def test_who_stands_still_in_a_transaction_keeps_its_locks_for_two_seconds_only(mariadb_url: str) -> None:
    """A frozen worker held the row of an answer until it was thawed; nobody could take the answer over."""
    standing = asyncio.Event()
    async with (
        own_schema(mariadb_url) as url,
        opened_engine(url) as engine,
        relay(str(engine.url.host), engine.url.port or 3306) as between,
        opened_engine(engine.url.set(port=between.port).render_as_string(hide_password=False)) as frozen,
    ):
        await in_transaction(engine, create_counters)

        def stand_still(connection: Connection) -> None:
            increment(connection, 1)
            between.freeze()
            standing.set()
            increment(connection, 2)

        stood = asyncio.create_task(in_transaction(frozen, stand_still))
        await standing.wait()
        started = time.monotonic()
        await in_transaction(engine, lambda db: increment(db, 1))
        assert time.monotonic() - started < 4
        between.thaw()
        with pytest.raises(DatabaseUnavailable):
            await stood
        assert await in_transaction(engine, values, read_only=True) == [1, 0]


async def test_a_read_only_unit_does_not_wait_for_the_sqlite_writer(tmp_path: Path) -> None:
    """It sees what was committed before."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"
    async with opened_engine(url) as engine, opened_engine(url) as other:
        await in_transaction(engine, create_counters)
        async with other.begin() as writing:
            await writing.run_sync(increment, 1)
            assert await in_transaction(engine, values, read_only=True, deadline_seconds=1) == [0, 0]
        assert await in_transaction(engine, values, read_only=True) == [1, 0]


async def test_a_database_that_cannot_be_written_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked by somebody else: reading would still work, and say nothing."""
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 0.2)
    url = f"sqlite+aiosqlite:///{tmp_path / 'locked.db'}"
    async with opened_engine(url) as engine, opened_engine(url) as other:
        await ping(engine)
        async with other.begin():
            with pytest.raises(DatabaseUnavailable):
                await check(engine)
        await check(engine)


async def test_a_database_whose_file_was_removed_is_not_ready(tmp_path: Path) -> None:
    """The open connection would go on writing into nothing."""
    file = tmp_path / "removed.db"
    async with opened_engine(f"sqlite+aiosqlite:///{file}") as engine:
        await ping(engine)
        await check(engine)
        file.rename(tmp_path / "elsewhere.db")
        with pytest.raises(DatabaseUnavailable, match="the file is not there"):
            await check(engine)


async def test_a_cancellation_is_never_forgotten(mariadb_url: str) -> None:
    """At whatever moment it comes, also while connecting: a unit of work that had not ended ends as cancelled."""
    async with opened_engine(mariadb_url) as engine:
        for number in range(150):
            task = asyncio.create_task(ping(engine))
            # Cancelled units leave no connection behind, so the next one connects anew, which takes some 3 ms.
            await asyncio.sleep(number * 0.00003)
            asked = task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() == asked
