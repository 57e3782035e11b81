"""Units of work: all or nothing, repeated when the database asks for it, and never without an end.

in_transaction(engine, work) ─▶ BEGIN ─▶ work(connection) ─▶ COMMIT
      ▲                                        │
      └── again, after a moment ◀── deadlock, lock wait, SQLITE_BUSY

`work` is an ordinary function although the drivers are asynchronous: SQLAlchemy waits for them underneath, in one
greenlet for the whole unit (`AsyncConnection.run_sync`). One for each statement costs twice the processor time.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.contract.errors import ErrorCode, RequestError
from libs.database.engine import READ_ONLY, SQLITE, address

T = TypeVar("T")
Work = Callable[[Connection], T]

ATTEMPTS = 5
FIRST_BACKOFF_SECONDS = 0.02
# More than one lock wait (5 s), less than the patience of somebody who waits for an answer.
DEADLINE_SECONDS = 15.0
# Readiness must be told within 2 s.
PING_SECONDS = 1.5

# https://mariadb.com/kb/en/mariadb-error-code-reference/
_MYSQL_CONTENTION = frozenset({1205, 1213})  # lock wait timeout, deadlock
# Too many connections, access denied (for the database, at all), unknown database, shutdown; then no connection,
# unknown host, gone, lost, killed by an administrator, disconnected for inactivity.
_MYSQL_AWAY = frozenset({1040, 1044, 1045, 1049, 1053, 2002, 2003, 2005, 2006, 2013, 1927, 4031})
# https://www.sqlite.org/rescode.html
_SQLITE_CONTENTION = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SQLITE_AWAY = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)


class DatabaseUnavailable(RequestError):
    """The database cannot be used at the moment. Whether a commit that was under way took place is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.SERVICE_UNAVAILABLE, message, retry_after_ms=1000)


async def in_transaction(
    engine: AsyncEngine, work: Work[T], *, read_only: bool = False, deadline_seconds: float = DEADLINE_SECONDS
) -> T:
    """Runs `work` in one transaction and returns what it returns; what it raises rolls the transaction back.

    `work` runs again, at most 5 times in all, after a deadlock or a lock it did not get, so it must have no effect
    outside its transaction. Raises `DatabaseUnavailable`.
    """
    try:
        async with asyncio.timeout(deadline_seconds):
            return await _repeated_when_contended(engine, work, read_only=read_only)
    except TimeoutError as error:
        raise _unavailable(engine, f"no answer within {deadline_seconds:g} s") from error
    except PoolTimeoutError as error:
        raise _unavailable(engine, "all connections are in use") from error
    except DBAPIError as error:
        if _is_contention(error):
            raise _unavailable(engine, f"its locks were not free in {ATTEMPTS} attempts") from error
        if _is_away(error):
            raise _unavailable(engine, _reason(error)) from error
        raise


async def ping(engine: AsyncEngine, *, deadline_seconds: float = PING_SECONDS) -> None:
    """Returns when the database can be written to; raises `DatabaseUnavailable` when it cannot in time.

    A transaction that may write takes SQLite's write lock: reading alone would not even touch the file.
    """
    await in_transaction(engine, _select_one, deadline_seconds=deadline_seconds)


async def check(engine: AsyncEngine) -> None:
    """For readiness: `ping`, and that an SQLite file is still where it was; open connections do not notice."""
    if engine.url.drivername == SQLITE and not await asyncio.to_thread(Path(str(engine.url.database)).exists):
        raise _unavailable(engine, "the file is not there")
    await ping(engine)


def _select_one(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


async def _repeated_when_contended(engine: AsyncEngine, work: Work[T], *, read_only: bool) -> T:
    for attempt in range(ATTEMPTS - 1):
        try:
            return await _once(engine, work, read_only=read_only)
        except DBAPIError as error:
            if not _is_contention(error):
                raise
        backoff = FIRST_BACKOFF_SECONDS * 2**attempt
        await asyncio.sleep(random.uniform(backoff / 2, backoff))  # noqa: S311 (keeps rivals apart; no secret)
    return await _once(engine, work, read_only=read_only)


async def _once(engine: AsyncEngine, work: Work[T], *, read_only: bool) -> T:
    cancellations = _cancellations()
    async with engine.connect() as connection:
        # asyncmy connects in `asyncio.wait_for`, which in Python 3.11 forgets a cancellation (by the caller, or by the
        # deadline) that comes together with its result: https://github.com/python/cpython/issues/86296.
        if _cancellations() > cancellations:
            raise asyncio.CancelledError
        if read_only:
            await connection.execution_options(**{READ_ONLY: True})
        return await connection.run_sync(_committed, work)


def _committed(connection: Connection, work: Work[T]) -> T:
    with connection.begin():
        return work(connection)


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _is_contention(error: DBAPIError) -> bool:
    return _mysql_code(error) in _MYSQL_CONTENTION or _sqlite_code(error) in _SQLITE_CONTENTION


def _is_away(error: DBAPIError) -> bool:
    return error.connection_invalidated or _mysql_code(error) in _MYSQL_AWAY or _sqlite_code(error) in _SQLITE_AWAY


def _mysql_code(error: DBAPIError) -> object:
    return error.orig.args[0] if error.orig is not None and error.orig.args else None


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    # The low byte is the error; the rest tells its variety (SQLITE_BUSY_SNAPSHOT …).
    return code & 0xFF if isinstance(code, int) else None


def _reason(error: DBAPIError) -> str:
    return str(error.orig.args[-1]) if error.orig is not None and error.orig.args else type(error).__name__


def _unavailable(engine: AsyncEngine, reason: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database {address(engine)} cannot be used at the moment: {reason}.")
