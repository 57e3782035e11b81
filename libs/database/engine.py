"""Opens a database the way all of this project's code relies on: SQLite embedded, MariaDB or MySQL in production.

What is promised on both: a committed transaction is on disk, foreign keys hold, text is full Unicode, times are
UTC, nothing waits longer than 5 s for a lock, and the row count of an UPDATE is the number of rows it matched.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from libs.database import sqlite

SQLITE = "sqlite+aiosqlite"
MYSQL = "mysql+asyncmy"

LOCK_WAIT_SECONDS = 5
CONNECT_SECONDS = 5
# Who stands still in a transaction (a frozen process, a cable pulled) would keep its locks for hours, and nobody could
# take over its answers. MariaDB undoes it before their lease of 3 s has run out; ours wait for nothing but the database
# in there, or 1.5 s for NATS. MySQL knows no such limit. On SQLite a frozen writer keeps all others from writing.
# https://mariadb.com/kb/en/server-system-variables/#idle_transaction_timeout
IDLE_TRANSACTION_SECONDS = 2
# Below the servers' default wait_timeout of 8 h and the 1 h after which many proxies forget an idle connection.
RECYCLE_SECONDS = 1800

# Transactions end where they began, in `async with`; a ROLLBACK at every return to the pool would be one trip more.
NO_RESET = None

# https://mariadb.com/kb/en/mariadb-error-code-reference/: lost connection during query
_LOST = 2013

# An execution option: this transaction will not write, so on SQLite it need not wait for the one that does.
READ_ONLY = "read_only"
# One of an SQLite engine: SQLite lets its writers wait for each other by sleeping, ever longer; those of one process
# take turns by this lock instead (measured: 10 ms from the request to a change of a task, instead of 16).
TURN = "turn"


class BadDatabaseUrl(ValueError):
    """The configured URL leads to no database; the message is a sentence for the person who configures."""


def open_engine(url: str, *, check_foreign_keys: bool = True) -> AsyncEngine:
    """An engine for `sqlite+aiosqlite:///path` or `mysql+asyncmy://user:password@host:port/name`.

    Connects to nothing yet. The caller disposes of it. `check_foreign_keys=False` is for migrations alone.
    Raises `BadDatabaseUrl` for any other URL, and when the folder of an SQLite file cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadDatabaseUrl("The database URL cannot be read. Write it like sqlite+aiosqlite:///chat.db.") from error
    if parsed.drivername == SQLITE:
        return _open_sqlite(parsed, check_foreign_keys=check_foreign_keys)
    if parsed.drivername == MYSQL:
        return _open_mysql(parsed)
    raise BadDatabaseUrl(f"A database URL starts with {SQLITE}:// or {MYSQL}://, not with {parsed.drivername}://.")


@asynccontextmanager
async def opened_engine(url: str, *, check_foreign_keys: bool = True) -> AsyncIterator[AsyncEngine]:
    """`open_engine`, with all connections closed when the block is left."""
    engine = open_engine(url, check_foreign_keys=check_foreign_keys)
    try:
        yield engine
    finally:
        await engine.dispose()


def address(engine: AsyncEngine) -> str:
    """Where the database is, as people and logs may see it: without user and password."""
    url = engine.url
    return str(url.database) if url.drivername == SQLITE else f"{url.host}:{url.port or 3306}/{url.database}"


def _open_sqlite(url: URL, *, check_foreign_keys: bool) -> AsyncEngine:
    if not url.database or url.database == ":memory:":
        raise BadDatabaseUrl("An SQLite database needs a file: sqlite+aiosqlite:///chat.db.")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadDatabaseUrl(f"The folder of the database {url.database} cannot be made: {error.strerror}.") from error
    engine = create_async_engine(
        url,
        # Writers take turns anyway; each connection is a thread.
        pool_size=4,
        max_overflow=0,
        pool_reset_on_return=NO_RESET,
        # Message texts are parameters; they belong in no log.
        hide_parameters=True,
        execution_options={TURN: asyncio.Lock()},
        connect_args={
            "timeout": LOCK_WAIT_SECONDS,
            # sqlite3 itself starts no transaction; `_begin_sqlite` does.
            "isolation_level": None,
            "async_creator_fn": sqlite.connect,
        },
    )
    foreign_keys = "ON" if check_foreign_keys else "OFF"

    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose the last commits at a power cut, and a request is acknowledged once it is committed.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that starts by reading and then writes fails at once if another wrote in between, however long
    # the lock wait (https://www.sqlite.org/isolation.html); so writers take the write lock first.
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else sqlite.BEGIN_TO_WRITE)


def _open_mysql(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=CONNECT_SECONDS,
        pool_recycle=RECYCLE_SECONDS,
        # One more round trip (0.1 ms on loopback), and a restarted server is found again without a failed request.
        pool_pre_ping=True,
        pool_reset_on_return=NO_RESET,
        hide_parameters=True,
        # Fewer gap locks than REPEATABLE READ, hence fewer deadlocks; nothing here reads the same row twice.
        isolation_level="READ COMMITTED",
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
            "init_command": (
                "SET SESSION time_zone = '+00:00', sql_mode = 'TRADITIONAL', "
                f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
                f" /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_SECONDS} */"
            ),
        },
    )
    event.listen(engine.sync_engine, "do_connect", _connect_mysql)
    return engine


def _connect_mysql(dialect: Dialect, _: ConnectionPoolEntry, args: Sequence[Any], options: dict[str, Any]) -> Any:
    try:
        return dialect.connect(*args, **options)
    except RuntimeError as error:
        # asyncmy 0.2.18 on uvloop, when the server hangs up right after it has taken the connection: "Transport does
        # not expose socket instance".
        raise dialect.loaded_dbapi.OperationalError(_LOST, "the server hangs up") from error
