"""Conversations and messages, and the first conversation that older clients expect to find.

MySQL commits each DDL statement by itself. So that a run cut short can be repeated, every step here also succeeds
where it was already done.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

# Copies, on purpose: a migration must do tomorrow what it did today, whatever becomes of the code.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=3), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "sqlite_autoincrement": True,
    "if_not_exists": True,
}
LOCAL_USER = "local"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.UniqueConstraint("owner", "request_id", name="uq_conversations_owner_request_id"),
        **TABLE,
    )
    op.create_table(
        "messages",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("conversation_id", ROW_ID, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("content", LONG_TEXT, nullable=False),
        sa.Column("reasoning", LONG_TEXT),
        sa.Column("model", sa.String(200)),
        sa.Column("finish_reason", sa.String(64)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.String(500)),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("completion_tokens", sa.Integer()),
        sa.Column("ttft_ms", sa.Double()),
        sa.Column("tokens_per_second", sa.Double()),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(128)),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_messages_conversation_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "conversation_id", "request_id", "role", name="uq_messages_conversation_id_request_id_role"
        ),
        **TABLE,
    )
    _create_index("ix_conversations_owner_updated_at_id", "conversations", ["owner", "updated_at", "id"])
    _create_index("ix_messages_conversation_id_id", "messages", ["conversation_id", "id"])
    _create_index("ix_messages_request_id", "messages", ["request_id"])
    _create_index("ix_messages_status_conversation_id_id", "messages", ["status", "conversation_id", "id"])
    _insert_first_conversation()


def _create_index(name: str, table: str, columns: list[str]) -> None:
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    if not sa.inspect(op.get_bind()).has_index(table, name):
        op.create_index(name, table, columns)


def _insert_first_conversation() -> None:
    conversations = sa.table(
        "conversations",
        sa.column("id", ROW_ID),
        sa.column("owner", sa.String),
        sa.column("title", sa.String),
        sa.column("created_at", MOMENT),
        sa.column("updated_at", MOMENT),
    )
    if op.get_bind().scalar(sa.select(conversations.c.id).limit(1)) is None:
        now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
        op.bulk_insert(
            conversations,
            [{"id": 1, "owner": LOCAL_USER, "title": "First conversation", "created_at": now, "updated_at": now}],
        )
