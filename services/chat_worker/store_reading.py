"""Reading messages: one row, the page of a conversation that a person sees, the context that the model gets."""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, LargeBinary, bindparam, cast, func, select

from libs.contract.chat import MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.records import HistoryPage, StoredMessage
from services.chat_worker.tables import conversations, messages

UNFINISHED = (MessageStatus.PENDING, MessageStatus.STREAMING)
# What may stand in the context: an answer that failed tells the model nothing.
USABLE = (MessageStatus.COMPLETE, MessageStatus.CANCELLED, MessageStatus.INTERRUPTED)

# A page is one frame through the bus, which carries 1 MiB; text may grow by a half when written as JSON.
MAX_PAGE_BYTES = 512 * 1024

MESSAGE_COLUMNS = [messages.c[field] for field in StoredMessage.__struct_fields__]

_earlier = messages.alias("earlier")
# How many unfinished answers of its conversation stand before a message.
ANSWERS_BEFORE = (
    select(func.count())
    .where(
        _earlier.c.conversation_id == messages.c.conversation_id,
        _earlier.c.status.in_(UNFINISHED),
        _earlier.c.id < messages.c.id,
    )
    .scalar_subquery()
)
_CONTEXT = (
    select(messages.c.role, messages.c.content)
    .where(
        messages.c.conversation_id == bindparam("of_conversation"),
        messages.c.id < bindparam("before"),
        messages.c.status.in_(USABLE),
        messages.c.content != "",
    )
    .order_by(messages.c.id.desc())
    .limit(bindparam("most"))
)


def no_such_conversation(conversation_id: int) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, f"There is no conversation {conversation_id}.")


def read_message(connection: Connection, *where: ColumnElement[bool]) -> StoredMessage | None:
    """The newest message for which all of `where` holds (which may speak of its conversation too)."""
    found = read_messages(connection, *where, limit=1)
    return found[0] if found else None


def read_messages(
    connection: Connection, *where: ColumnElement[bool], limit: int, oldest_first: bool = False
) -> list[StoredMessage]:
    """At most `limit` messages for which all of `where` holds, from the newest or the oldest on."""
    query = (
        select(*MESSAGE_COLUMNS)
        .join_from(messages, conversations)
        .where(*where)
        .order_by(messages.c.id if oldest_first else messages.c.id.desc())
        .limit(limit)
    )
    return [msgspec.convert(row, StoredMessage) for row in connection.execute(query).mappings()]


def read_context(
    connection: Connection, conversation_id: int, before_message_id: int, limit: int
) -> list[tuple[Role, str]]:
    """The last `limit` messages with something to say, newest first."""
    asked = {"of_conversation": conversation_id, "before": before_message_id, "most": limit}
    return [(Role(role), content) for role, content in connection.execute(_CONTEXT, asked)]


def read_history(
    connection: Connection, owner: str, conversation_id: int | None, limit: int, before: int | None
) -> HistoryPage:
    """See `Store.history`."""
    conversation_id = _conversation_to_read(connection, owner, conversation_id)
    if conversation_id is None:
        return HistoryPage(None, [], has_more=False, answering=None)
    # Read before the page: an answer that ends in between then shows up twice, not never.
    answering = read_messages(
        connection,
        messages.c.conversation_id == conversation_id,
        messages.c.status.in_(UNFINISHED),
        limit=1,
        oldest_first=True,
    )
    sizes = [(row.id, row.size) for row in connection.execute(page_query(conversation_id, limit + 1, before))]
    ids = _fitting(sizes[:limit])
    page = read_messages(connection, messages.c.id.in_(ids), limit=limit)
    return HistoryPage(
        conversation_id,
        page[::-1],
        has_more=len(ids) < len(sizes),
        answering=next((answer for answer in answering if answer.id not in ids), None),
    )


def page_query(conversation_id: int, limit: int, before: int | None) -> Any:
    """Ids and sizes in bytes of a page's messages, newest first: found by the index from its end, not by an offset."""
    query = (
        select(messages.c.id, (_bytes(messages.c.content) + _bytes(messages.c.reasoning)).label("size"))
        .where(messages.c.conversation_id == conversation_id, messages.c.status.not_in(UNFINISHED))
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    return query if before is None else query.where(messages.c.id < before)


def _bytes(column: ColumnElement[str]) -> ColumnElement[int]:
    # length() counts bytes on MySQL and characters on SQLite, and bytes of a binary value on both.
    return func.coalesce(func.length(cast(column, LargeBinary)), 0)


def _fitting(sizes: list[tuple[int, int]]) -> list[int]:
    """The first ids whose messages fill a page: always one, however long."""
    ids: list[int] = []
    room = MAX_PAGE_BYTES
    for message_id, size in sizes:
        room -= size
        if ids and room < 0:
            break
        ids.append(message_id)
    return ids


def _conversation_to_read(connection: Connection, owner: str, conversation_id: int | None) -> int | None:
    query = select(conversations.c.id).where(conversations.c.owner == owner)
    if conversation_id is None:
        query = query.order_by(conversations.c.updated_at.desc(), conversations.c.id.desc())
    else:
        query = query.where(conversations.c.id == conversation_id)
    found = connection.scalars(query.limit(1)).first()
    if found is None and conversation_id is not None:
        raise no_such_conversation(conversation_id)
    return found
