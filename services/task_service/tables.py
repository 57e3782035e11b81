"""The task service's own four tables. `migrations/` creates them; a test holds the two descriptions equal."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql

from libs.database.types import UtcDateTime

metadata = MetaData()

# SQLite numbers rows by itself only where the type is INTEGER (which there has 64 bits).
_RowId = BigInteger().with_variant(Integer(), "sqlite")
# 16 MiB. TEXT and BLOB hold 64 KiB, and a frame may have 256.
_LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
_LongBytes = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    # Request ids that differ in case are different requests.
    "mysql_collate": "utf8mb4_bin",
}
# Ids are never given twice, also after the newest row was deleted: clients remember them.
_NUMBERED: dict[str, Any] = {**_OPTIONS, "sqlite_autoincrement": True}

# `search_text` is title and description with the case of their letters folded away: neither database compares all
# of Unicode so by itself.
tasks = Table(
    "tasks",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("owner", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("description", _LongText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("search_text", _LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Index("ix_tasks_owner_id", "owner", "id"),
    Index("ix_tasks_owner_status_id", "owner", "status", "id"),
    **_NUMBERED,
)

subtasks = Table(
    "subtasks",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("task_id", _RowId, ForeignKey("tasks.id", name="fk_subtasks_task_id", ondelete="CASCADE"), nullable=False),
    Column("title", String(200), nullable=False),
    Column("description", _LongText, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Index("ix_subtasks_task_id_id", "task_id", "id"),
    **_NUMBERED,
)

# One row a change, for ever: what was asked, by whom. A request id that stands here has been carried out.
task_events = Table(
    "task_events",
    metadata,
    Column(
        "task_id",
        _RowId,
        ForeignKey("tasks.id", name="fk_task_events_task_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("command", String(16), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("request_id", String(64)),
    Column("request", _LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("owner", "request_id", name="uq_task_events_owner_request_id"),
    **_OPTIONS,
)

# Finished frames, one a change: until they are known to be published, and then for a while.
task_frames = Table(
    "task_frames",
    metadata,
    Column("task_id", _RowId, primary_key=True, autoincrement=False),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("payload", _LongBytes, nullable=False),
    Column("published", Boolean, nullable=False),
    # Unix milliseconds of the database's clock.
    Column("stored_ms", BigInteger, nullable=False),
    Index("ix_task_frames_published_stored_ms", "published", "stored_ms"),
    **_OPTIONS,
)
