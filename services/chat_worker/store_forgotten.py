"""Unfinished answers that nobody has in hand: their queue items are gone, with NATS's store or by an error."""

from datetime import timedelta

import msgspec
from sqlalchemy import Connection, and_, bindparam, func, select, update

from libs.contract.chat import ChatOptions, Role
from libs.database.clock import now_ms
from services.chat_worker.records import NewRequest
from services.chat_worker.store_conversations import present
from services.chat_worker.store_reading import ANSWERS_BEFORE, UNFINISHED
from services.chat_worker.tables import conversations, messages

_asked = messages.alias("asked")
_FORGOTTEN = (
    select(
        messages.c.id,
        messages.c.updated_at,
        conversations.c.owner,
        messages.c.request_id,
        messages.c.conversation_id,
        _asked.c.content,
        messages.c.asked_model,
        messages.c.asked_options,
    )
    .join_from(messages, conversations)
    .join(
        _asked,
        and_(
            _asked.c.conversation_id == messages.c.conversation_id,
            _asked.c.request_id == messages.c.request_id,
            _asked.c.role == Role.USER,
        ),
    )
    .where(
        messages.c.status.in_(UNFINISHED),
        messages.c.updated_at < bindparam("before"),
        func.coalesce(messages.c.lease_until, 0) <= now_ms(),
        ANSWERS_BEFORE == 0,
    )
    .order_by(messages.c.id)
    .limit(bindparam("most"))
)
_TAKE = (
    update(messages)
    .where(messages.c.id == bindparam("of_id"), messages.c.updated_at == bindparam("as_seen"))
    .values(updated_at=bindparam("now"))
)


def take_forgotten(connection: Connection, older_than_seconds: float, limit: int) -> list[NewRequest]:
    """See `Store.take_forgotten`."""
    now = present()
    before = now - timedelta(seconds=older_than_seconds)
    taken = []
    for row in connection.execute(_FORGOTTEN, {"before": before, "most": limit}).all():
        # Of two workers that see the same row one changes it.
        mine = connection.execute(_TAKE, {"of_id": row.id, "as_seen": row.updated_at, "now": now})
        if mine.rowcount == 1:
            options = row.asked_options and msgspec.json.decode(row.asked_options, type=ChatOptions)
            taken.append(
                NewRequest(row.owner, row.request_id, row.conversation_id, row.content, row.asked_model, options)
            )
    return taken
