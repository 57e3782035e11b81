"""The database's own clock. Leases are measured by it alone, so workers whose clocks differ agree who holds one."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class now_ms(FunctionElement[int]):  # noqa: N801 (reads as the SQL function it stands for)
    """SQL expression: the database's present time, in Unix milliseconds."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _sqlite(_: now_ms, __: SQLCompiler, **___: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42. julianday is a double: exact to 0.05 ms. Its day 2440587.5 is 1970-01-01.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(now_ms, "mysql")
@compiles(now_ms, "mariadb")
def _mysql(_: now_ms, __: SQLCompiler, **___: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
