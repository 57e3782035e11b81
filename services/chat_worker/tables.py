"""The chat worker's own two tables. `migrations/` creates them; a test holds the two descriptions equal."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
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
# 16 MiB. TEXT would hold 64 KiB, and an answer may have 256.
_LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    # Request ids that differ in case are different requests.
    "mysql_collate": "utf8mb4_bin",
    # Ids are never given twice, also after the newest row was deleted: clients remember them.
    "sqlite_autoincrement": True,
}

conversations = Table(
    "conversations",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("owner", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("request_id", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("owner", "request_id", name="uq_conversations_owner_request_id"),
    Index("ix_conversations_owner_updated_at_id", "owner", "updated_at", "id"),
    **_OPTIONS,
)

# A row is a user's message, complete from the start, or an answer, whose `epoch` counts the workers that took it.
# `lease_until` is Unix milliseconds of the database's clock.
messages = Table(
    "messages",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column(
        "conversation_id",
        _RowId,
        ForeignKey("conversations.id", name="fk_messages_conversation_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("request_id", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("content", _LongText, nullable=False),
    Column("reasoning", _LongText),
    Column("model", String(200)),
    Column("finish_reason", String(64)),
    Column("error_code", String(64)),
    Column("error_message", String(500)),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("ttft_ms", Double),
    Column("tokens_per_second", Double),
    Column("epoch", Integer, nullable=False),
    Column("lease_owner", String(128)),
    Column("lease_until", BigInteger),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # Claims that came to nothing; an answer handed back in order is not counted. A higher epoch may have other reasons.
    Column("attempts", Integer, nullable=False, server_default="0"),
    # What the request asked for, beside its text; the options as JSON.
    Column("asked_model", String(200)),
    Column("asked_options", Text),
    UniqueConstraint("conversation_id", "request_id", "role", name="uq_messages_conversation_id_request_id_role"),
    Index("ix_messages_conversation_id_id", "conversation_id", "id"),
    Index("ix_messages_request_id", "request_id"),
    # Unfinished answers, in all and of one conversation.
    Index("ix_messages_status_conversation_id_id", "status", "conversation_id", "id"),
    **_OPTIONS,
)
