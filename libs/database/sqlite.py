"""An SQLite connection that works where it is cheapest: in the event loop, or where it may have to wait, in its thread.

    event loop ── BEGIN, COMMIT, reading ─▶ the connection's thread: run, read all rows, close
               ◀──────────── rows ────────┘
    a statement between BEGIN IMMEDIATE and COMMIT runs at once: the lock is held, nothing is left to wait for

aiosqlite makes, executes, reads and closes a cursor by one trip to the thread each, and a trip costs two turns of the
scheduler. The change of a task, eight statements: 7.6 ms so, 4.1 with a trip a statement, 2.4 with two.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Self

import aiosqlite

BEGIN_TO_WRITE = "BEGIN IMMEDIATE"

# aiosqlite asks for it, for results that are read piece by piece; these are not.
_UNUSED_CHUNK_SIZE = 64


class _Result(NamedTuple):
    rows: list[Any]
    description: Any
    rowcount: int
    lastrowid: int | None


class Cursor:
    """The part of an asynchronous DBAPI cursor that SQLAlchemy uses when it reads results at once."""

    def __init__(self, connection: "Connection") -> None:
        self.arraysize = 1
        self._connection = connection
        self._result = _Result([], None, -1, None)

    @property
    def description(self) -> Any:
        return self._result.description

    @property
    def rowcount(self) -> int:
        return self._result.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._result.lastrowid

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        self._result = await self._connection.run(sqlite3.Connection.execute, sql, parameters)

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> None:
        self._result = await self._connection.run(sqlite3.Connection.executemany, sql, parameters)

    async def fetchall(self) -> list[Any]:
        return self._result.rows

    async def close(self) -> None:
        """Done already, in the thread."""


class Connection(aiosqlite.Connection):
    """aiosqlite's, with the cursor above."""

    def cursor(self) -> Cursor:  # type: ignore[override] # less than aiosqlite's, and got without a trip
        return Cursor(self)

    _writing = False

    async def run(self, method: Callable[..., sqlite3.Cursor], sql: str, parameters: Iterable[Any]) -> _Result:
        """Raises `sqlite3.Error`, and `ValueError` when the connection is closed."""
        # What writes is small, by the rule of this project that a unit of work is one change; a page of a list is not.
        if self._writing and self.in_transaction:
            return self._run(method, sql, parameters)
        self._writing = sql == BEGIN_TO_WRITE
        return await self._execute(self._run, method, sql, parameters)  # type: ignore[no-any-return, no-untyped-call] # aiosqlite does not tell types

    def _run(self, method: Callable[..., sqlite3.Cursor], sql: str, parameters: Iterable[Any]) -> _Result:
        cursor = method(self._conn, sql, parameters)
        try:
            return _Result(cursor.fetchall(), cursor.description, cursor.rowcount, cursor.lastrowid)
        finally:
            cursor.close()


async def connect(path: str, **options: Any) -> Connection:
    """`options` are those of `sqlite3.connect`."""
    connection = Connection(partial(sqlite3.connect, path, **options), _UNUSED_CHUNK_SIZE)
    thread = connection._thread  # noqa: SLF001 (the only way to it; SQLAlchemy goes it too)
    thread.daemon = True
    try:
        await connection
    except sqlite3.Error:
        # aiosqlite 0.22 does not wait for the thread of a connection that failed; when the event loop is closed
        # before the thread has ended, it dies with a trace on standard error.
        await asyncio.to_thread(thread.join, 1)
        raise
    return connection
