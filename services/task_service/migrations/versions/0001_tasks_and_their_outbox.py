"""Tasks with subtasks, their events and the outbox, and the first task that older clients expect to find.

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
LONG_BYTES = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}
NUMBERED: dict[str, Any] = {**TABLE, "sqlite_autoincrement": True}
LOCAL_USER = "local"
TITLE = "First task"


def upgrade() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", LONG_TEXT, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.String(16), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("search_text", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT),
        **NUMBERED,
    )
    op.create_table(
        "subtasks",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("task_id", ROW_ID, nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("description", LONG_TEXT, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("completed_at", MOMENT),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_subtasks_task_id", ondelete="CASCADE"),
        **NUMBERED,
    )
    op.create_table(
        "task_events",
        sa.Column("task_id", ROW_ID, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("command", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("request", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_task_events_task_id", ondelete="CASCADE"),
        sa.UniqueConstraint("owner", "request_id", name="uq_task_events_owner_request_id"),
        **TABLE,
    )
    op.create_table(
        "outbox",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("task_id", ROW_ID, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("payload", LONG_BYTES, nullable=False),
        **NUMBERED,
    )
    _create_index("ix_tasks_owner_id", "tasks", ["owner", "id"])
    _create_index("ix_tasks_owner_status_id", "tasks", ["owner", "status", "id"])
    _create_index("ix_subtasks_task_id_id", "subtasks", ["task_id", "id"])
    _insert_first_task()


def _create_index(name: str, table: str, columns: list[str]) -> None:
    # MySQL has no CREATE INDEX IF NOT EXISTS.
    if not sa.inspect(op.get_bind()).has_index(table, name):
        op.create_index(name, table, columns)


def _insert_first_task() -> None:
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    task = {
        "id": 1,
        "owner": LOCAL_USER,
        "title": TITLE,
        "description": "",
        "status": "pending",
        "priority": "medium",
        "progress": 0,
        "revision": 1,
        "search_text": f"{TITLE}\n".casefold(),
        "created_at": now,
        "updated_at": now,
    }
    event = {
        "task_id": 1,
        "revision": 1,
        "command": "create",
        "owner": LOCAL_USER,
        "request": f'{{"title":"{TITLE}"}}',
        "created_at": now,
    }
    for name, row in (("tasks", task), ("task_events", event)):
        columns = (sa.column(key, MOMENT if key.endswith("_at") else None) for key in row)
        table = sa.table(name, *columns)
        if op.get_bind().scalar(sa.select(sa.func.count()).select_from(table)) == 0:
            op.bulk_insert(table, [row])
