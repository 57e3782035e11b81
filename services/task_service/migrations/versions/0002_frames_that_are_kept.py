"""Frames are kept for a while after they were published: the outbox becomes `task_frames`.

As in 0001, every step also succeeds where it was already done.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG_BYTES = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}
INDEX = "ix_task_frames_published_stored_ms"


def upgrade() -> None:
    op.create_table(
        "task_frames",
        sa.Column("task_id", ROW_ID, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("payload", LONG_BYTES, nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), nullable=False),
        **TABLE,
    )
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    if not sa.inspect(op.get_bind()).has_index("task_frames", INDEX):
        op.create_index(INDEX, "task_frames", ["published", "stored_ms"])
    if sa.inspect(op.get_bind()).has_table("outbox"):
        # Stored long ago: they are the first to be published.
        op.execute(
            "INSERT INTO task_frames (task_id, revision, payload, published, stored_ms) "
            "SELECT task_id, revision, payload, 0, 0 FROM outbox "
            "WHERE NOT EXISTS (SELECT 1 FROM task_frames AS done WHERE done.task_id = outbox.task_id "
            "AND done.revision = outbox.revision)"
        )
        op.drop_table("outbox")
