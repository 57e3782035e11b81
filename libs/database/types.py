"""Column types that mean the same on every database."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: an aware datetime goes in, the same moment comes out in UTC, cut to milliseconds.

    Raises `ValueError` for a naive datetime, whose moment nobody knows.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=3))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (given by SQLAlchemy)
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return to_milliseconds(value.astimezone(UTC)).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (given by SQLAlchemy)
        return None if value is None else value.replace(tzinfo=UTC)


def to_milliseconds(moment: datetime) -> datetime:
    """The moment as a column of this type gives it back; MySQL by itself would round up into the future."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
