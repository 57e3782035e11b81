"""Conversations: open, list, rename, delete."""

import base64
import binascii
from datetime import UTC, datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from libs.contract.chat import Conversation, Conversations
from libs.contract.errors import ErrorCode, RequestError
from libs.database.types import to_milliseconds
from services.chat_worker.store_reading import UNFINISHED, no_such_conversation
from services.chat_worker.tables import conversations, messages

TITLE_CHARACTERS = 60
UNTITLED = "New conversation"

_INSERT = insert(conversations)
_COLUMNS = [conversations.c[field] for field in Conversation.__struct_fields__]


def present() -> datetime:
    """Now, as the database will give it back."""
    return to_milliseconds(datetime.now(UTC))


def title_of(message: str) -> str:
    """One line that recalls a conversation by its first message."""
    line = " ".join(message[: TITLE_CHARACTERS * 10].split())
    return (line if len(line) <= TITLE_CHARACTERS else f"{line[: TITLE_CHARACTERS - 1].rstrip()}…") or UNTITLED


def insert_conversation(connection: Connection, owner: str, title: str | None, request_id: str | None) -> Conversation:
    """A new conversation; `IntegrityError` if the owner has one of this request already."""
    now = present()
    title = title or UNTITLED
    row = {"owner": owner, "title": title, "request_id": request_id, "created_at": now, "updated_at": now}
    result = connection.execute(_INSERT, row)
    return Conversation(result.lastrowid, title, now, now)


def conversation_of_request(connection: Connection, owner: str, request_id: str) -> Conversation:
    """The conversation that this request opened. Raises `RequestError(not_found)`: it was deleted since."""
    query = select(*_COLUMNS).where(conversations.c.owner == owner, conversations.c.request_id == request_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise RequestError(ErrorCode.NOT_FOUND, "The conversation that this request opened has been deleted.")
    return msgspec.convert(row, Conversation)


def list_conversations(connection: Connection, owner: str, limit: int, cursor: str | None) -> Conversations:
    """See `Store.list_conversations`."""
    query = (
        select(*_COLUMNS)
        .where(conversations.c.owner == owner, *([] if cursor is None else [_after(cursor)]))
        .order_by(conversations.c.updated_at.desc(), conversations.c.id.desc())
        .limit(limit + 1)
    )
    found = [msgspec.convert(row, Conversation) for row in connection.execute(query).mappings()]
    page = found[:limit]
    return Conversations(page, _cursor(page[-1]) if len(found) > limit else None)


def rename_conversation(connection: Connection, owner: str, conversation_id: int, title: str) -> Conversation:
    mine = and_(conversations.c.id == conversation_id, conversations.c.owner == owner)
    connection.execute(update(conversations).where(mine).values(title=title))
    row = connection.execute(select(*_COLUMNS).where(mine)).mappings().first()
    if row is None:
        raise no_such_conversation(conversation_id)
    return msgspec.convert(row, Conversation)


def delete_conversation(connection: Connection, owner: str, conversation_id: int) -> list[int]:
    """See `Store.delete_conversation`."""
    mine = and_(conversations.c.id == conversation_id, conversations.c.owner == owner)
    # Locked, so that no answer can begin between the look and the deletion.
    if connection.scalar(select(conversations.c.id).where(mine).with_for_update()) is None:
        raise no_such_conversation(conversation_id)
    unfinished = connection.scalars(
        select(messages.c.id)
        .where(messages.c.conversation_id == conversation_id, messages.c.status.in_(UNFINISHED))
        .order_by(messages.c.id)
    )
    ids = list(unfinished)
    connection.execute(delete(conversations).where(mine))
    return ids


# ---- The cursor: where a page ended, (updated_at in ms, id), opaque to clients -------------------------------------


def _cursor(last: Conversation) -> str:
    milliseconds = round(last.updated_at.timestamp() * 1000)
    return base64.urlsafe_b64encode(f"{milliseconds}.{last.id}".encode()).decode().rstrip("=")


def _after(cursor: str) -> ColumnElement[bool]:
    try:
        decoded = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        milliseconds, last_id = (int(part) for part in decoded.split("."))
        last_id.to_bytes(8, signed=True)  # more is no row's id, and SQLite cannot even be asked for it
        updated_at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (binascii.Error, ValueError, OverflowError, OSError) as error:
        raise RequestError(ErrorCode.INVALID_FRAME, "`before` is not the cursor of a page of this list.") from error
    # Spelled out: MariaDB uses no index for (updated_at, id) < (…, …).
    return or_(
        conversations.c.updated_at < updated_at,
        and_(conversations.c.updated_at == updated_at, conversations.c.id < last_id),
    )
