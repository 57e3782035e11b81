"""The life of an answer, as statements. Each change is a compare-and-set, so of two workers one wins."""

from typing import Any

import msgspec
from sqlalchemy import String, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.contract.chat import MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from libs.database.clock import now_ms
from services.chat_worker.records import (
    Checkpoint,
    Claim,
    Claimed,
    Ended,
    NewRequest,
    NotYourTurn,
    Outcome,
    Recorded,
    RunningElsewhere,
    StoredMessage,
)
from services.chat_worker.store_conversations import insert_conversation, present, title_of
from services.chat_worker.store_reading import (
    MESSAGE_COLUMNS,
    UNFINISHED,
    no_such_conversation,
    read_message,
    read_messages,
)
from services.chat_worker.tables import conversations, messages

_NO_LEASE = {"lease_owner": None, "lease_until": None}

# No live worker holds it.
_UNATTENDED = or_(
    messages.c.status == MessageStatus.PENDING,
    and_(messages.c.status == MessageStatus.STREAMING, messages.c.lease_until <= now_ms()),
)

_LENGTHS = {column.name: column.type.length for column in messages.c if isinstance(column.type, String)}

_earlier = messages.alias("earlier")
_ANSWERS_BEFORE = (
    select(func.count())
    .where(
        _earlier.c.conversation_id == messages.c.conversation_id,
        _earlier.c.status.in_(UNFINISHED),
        _earlier.c.id < messages.c.id,
    )
    .scalar_subquery()
)


async def insert_request(connection: AsyncConnection, request: NewRequest) -> Recorded:
    """The two new rows of a request; `IntegrityError` if it has them already."""
    now = present()
    if request.conversation_id is None:
        title = title_of(request.content)
        conversation_id = (await insert_conversation(connection, request.owner, title, request.request_id)).id
    else:
        conversation_id = request.conversation_id
        # Checks the owner, and locks the conversation: the requests of one conversation get their ids in the order
        # of their commits, so a claim that sees no earlier answer will never see one later.
        touched = await connection.execute(
            update(conversations)
            .where(conversations.c.id == conversation_id, conversations.c.owner == request.owner)
            .values(updated_at=now)
        )
        if touched.rowcount == 0:
            raise no_such_conversation(conversation_id)
    user = StoredMessage(
        id=0,
        conversation_id=conversation_id,
        request_id=request.request_id,
        role=Role.USER,
        status=MessageStatus.COMPLETE,
        content=request.content,
        created_at=now,
    )
    answer = msgspec.structs.replace(user, role=Role.ASSISTANT, status=MessageStatus.PENDING, content="")
    return Recorded(await _insert(connection, user), await _insert(connection, answer), new=True)


async def find_request(connection: AsyncConnection, request: NewRequest) -> Recorded | None:
    """The two rows of a request that was recorded before."""
    if request.conversation_id is None:
        conversation = conversations.c.request_id == request.request_id
    else:
        conversation = conversations.c.id == request.conversation_id
    where = (conversation, conversations.c.owner == request.owner, messages.c.request_id == request.request_id)
    rows = await read_messages(connection, *where, limit=2, oldest_first=True)
    match rows:
        case [user, answer]:
            return Recorded(user, answer, new=False)
        case _:
            return None


async def claim(connection: AsyncConnection, message_id: int, worker: str, lease_ms: int, max_epoch: int) -> Claim:
    """See `Store.claim`."""
    row = (await connection.execute(_LOOK.where(messages.c.id == message_id))).mappings().first()
    if row is None:
        raise no_such_answer()
    answer = msgspec.convert(row, StoredMessage)
    if answer.status.terminal:
        return Ended(answer)
    if row["lease_left_ms"] > 0:
        return RunningElsewhere(answer, row["lease_left_ms"])
    if row["answers_before"]:
        return NotYourTurn(answer, row["answers_before"])
    if answer.epoch >= max_epoch:
        return Ended(await _give_up(connection, answer))
    # The look has locked the row, so what it saw still holds.
    claimed = {"status": MessageStatus.STREAMING, "epoch": answer.epoch + 1, "content": "", "reasoning": None}
    await connection.execute(
        update(messages)
        .where(messages.c.id == message_id)
        .values(**claimed, lease_owner=worker, lease_until=now_ms() + lease_ms, updated_at=present())
    )
    return Claimed(msgspec.structs.replace(answer, **claimed))


# A pending answer has no lease. One that runs out this millisecond has 0 left, and is free.
_LOOK = select(
    *MESSAGE_COLUMNS,
    func.coalesce(messages.c.lease_until - now_ms(), 0).label("lease_left_ms"),
    _ANSWERS_BEFORE.label("answers_before"),
).with_for_update()


async def checkpoint(connection: AsyncConnection, checkpoints: list[Checkpoint], lease_ms: int) -> set[int]:
    """See `Store.checkpoint`."""
    lost = set()
    # Always in the same order: two workers that lock the same rows do not wait for each other in a ring.
    for one in sorted(checkpoints, key=lambda checkpoint: checkpoint.message_id):
        kept = await update_running(
            connection,
            one.message_id,
            one.epoch,
            content=one.content,
            reasoning=one.reasoning,
            lease_until=now_ms() + lease_ms,
        )
        if not kept:
            lost.add(one.message_id)
    return lost


async def finish(connection: AsyncConnection, message_id: int, epoch: int, outcome: Outcome) -> StoredMessage | None:
    """See `Store.finish`."""
    ended = msgspec.structs.asdict(outcome)
    # What a model server says has no bound; a column has.
    for name in _LENGTHS.keys() & ended.keys():
        ended[name] = ended[name] and ended[name][: _LENGTHS[name]]
    if not await update_running(connection, message_id, epoch, **ended, **_NO_LEASE):
        return None
    answer = await existing_message(connection, message_id)
    await connection.execute(
        update(conversations).where(conversations.c.id == answer.conversation_id).values(updated_at=present())
    )
    return answer


async def update_running(connection: AsyncConnection, message_id: int, epoch: int, **values: Any) -> bool:
    """Changes an answer if it still runs under this epoch; whether it did."""
    changed = await connection.execute(
        update(messages)
        .where(
            messages.c.id == message_id,
            messages.c.epoch == epoch,
            messages.c.status == MessageStatus.STREAMING,
        )
        .values(**values, updated_at=present())
    )
    return changed.rowcount == 1


async def cancel(
    connection: AsyncConnection, owner: str, message_id: int | None, request_id: str | None
) -> StoredMessage:
    """See `Store.cancel`."""
    named = messages.c.request_id == request_id if message_id is None else messages.c.id == message_id
    answer = await read_message(connection, named, messages.c.role == Role.ASSISTANT, conversations.c.owner == owner)
    if answer is None:
        raise no_such_answer()
    await connection.execute(
        update(messages)
        .where(messages.c.id == answer.id, _UNATTENDED)
        .values(status=MessageStatus.CANCELLED, updated_at=present(), **_NO_LEASE)
    )
    # Read again also where nothing was changed: it may just have been claimed or finished.
    return await existing_message(connection, answer.id)


async def existing_message(connection: AsyncConnection, message_id: int) -> StoredMessage:
    message = await read_message(connection, messages.c.id == message_id)
    if message is None:
        raise no_such_answer()
    return message


def no_such_answer() -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, "There is no such answer.")


async def _insert(connection: AsyncConnection, message: StoredMessage) -> StoredMessage:
    row = msgspec.structs.asdict(message)
    del row["id"]
    result = await connection.execute(insert(messages).values(**row, updated_at=message.created_at))
    return msgspec.structs.replace(message, id=result.lastrowid)


async def _give_up(connection: AsyncConnection, answer: StoredMessage) -> StoredMessage:
    gave_up = {
        "status": MessageStatus.ERROR,
        "error_code": ErrorCode.INTERNAL.value,
        "error_message": f"Gave up after {answer.epoch} attempts.",
    }
    await connection.execute(
        update(messages).where(messages.c.id == answer.id).values(**gave_up, **_NO_LEASE, updated_at=present())
    )
    return msgspec.structs.replace(answer, **gave_up)
