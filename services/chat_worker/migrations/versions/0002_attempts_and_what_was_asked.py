"""What an answer needs to be begun again without its queue item, and how many workers have died over it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

COLUMNS: list[sa.Column[Any]] = [
    sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("asked_model", sa.String(200)),
    sa.Column("asked_options", sa.Text()),
]


def upgrade() -> None:
    # A run cut short on MySQL has added some of them.
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("messages")}
    for column in COLUMNS:
        if column.name not in there:
            op.add_column("messages", column)
