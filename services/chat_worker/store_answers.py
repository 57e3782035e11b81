"""The life of an answer, as statements. Each change is a compare-and-set, so of two workers one wins."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Insert, Integer, String, Update, and_, bindparam, func, insert, or_, select, update

from libs.contract.chat import MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from libs.database.clock import now_ms
from services.chat_worker.records import (
    GAVE_UP,
    Begun,
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
    ANSWERS_BEFORE,
    MESSAGE_COLUMNS,
    UNFINISHED,
    no_such_conversation,
    read_message,
    read_messages,
)
from services.chat_worker.tables import conversations, messages

_NO_LEASE = {"lease_owner": None, "lease_until": None}
_LENGTHS = {
    column.name: column.type.length
    for column in messages.c
    if isinstance(column.type, String) and column.type.length is not None
}

# Built once, because to build a statement anew takes longer than to run it. `of_…` says which row; parameters named
# like a column are its new value.
_INSERT_MESSAGE = insert(messages)
_UPDATE_CONVERSATION = update(conversations).where(conversations.c.id == bindparam("of_id"))
_UPDATE_OWN_CONVERSATION = _UPDATE_CONVERSATION.where(conversations.c.owner == bindparam("of_owner"))
_UPDATE_ANSWER = update(messages).where(messages.c.id == bindparam("of_id"))
_UPDATE_RUNNING = _UPDATE_ANSWER.where(
    messages.c.epoch == bindparam("of_epoch"), messages.c.status == MessageStatus.STREAMING
)
_lease = {"lease_until": now_ms() + bindparam("lease_ms", type_=Integer)}
_CLAIM = _UPDATE_ANSWER.values(_lease)
_INSERT_CLAIMED = _INSERT_MESSAGE.values(_lease)
_UNFINISHED = (
    select(func.count())
    .select_from(messages)
    .where(messages.c.conversation_id == bindparam("of_conversation"), messages.c.status.in_(UNFINISHED))
)
_CHECKPOINT = _UPDATE_RUNNING.values(_lease)
_RUNNING = select(messages.c.id, messages.c.epoch).where(
    messages.c.id.in_(bindparam("of_ids", expanding=True)), messages.c.status == MessageStatus.STREAMING
)
_RELEASE = _UPDATE_RUNNING.values(attempts=messages.c.attempts - 1)
_UPDATE_UNATTENDED = _UPDATE_ANSWER.where(
    or_(
        messages.c.status == MessageStatus.PENDING,
        and_(messages.c.status == MessageStatus.STREAMING, messages.c.lease_until <= now_ms()),
    )
)

_READ = select(*MESSAGE_COLUMNS).where(messages.c.id == bindparam("of_id"))
_LOOK_AND_LOCK = (
    select(
        *MESSAGE_COLUMNS,
        # A pending answer has no lease; one whose lease ends this millisecond has 0 left, and is free.
        func.coalesce(messages.c.lease_until - now_ms(), 0).label("lease_left_ms"),
        ANSWERS_BEFORE.label("answers_before"),
    )
    .where(messages.c.id == bindparam("of_id"))
    .with_for_update()
)


def insert_request(connection: Connection, request: NewRequest) -> Recorded:
    """The two new rows of a request; `IntegrityError` if it has them already."""
    user, asked = _insert_question(connection, request)
    return Recorded(user, _insert(connection, _INSERT_MESSAGE, _placeholder(user), asked), new=True)


def begin_request(connection: Connection, request: NewRequest, worker: str, lease_ms: int) -> Begun:
    """`insert_request` and `claim` in one: an answer whose turn it is comes into being claimed.

    What is before it cannot change: whoever records in this conversation has it locked.
    """
    user, asked = _insert_question(connection, request)
    answer = _placeholder(user)
    conversation = {"of_conversation": user.conversation_id}
    before = 0 if request.conversation_id is None else connection.scalar(_UNFINISHED, conversation)
    if before:
        answer = _insert(connection, _INSERT_MESSAGE, answer, asked)
        return Begun(Recorded(user, answer, new=True), NotYourTurn(answer, before))
    claimed = msgspec.structs.replace(answer, status=MessageStatus.STREAMING, epoch=1, attempts=1)
    claimed = _insert(connection, _INSERT_CLAIMED, claimed, {**asked, "lease_ms": lease_ms, "lease_owner": worker})
    # A conversation that begins has no history; to read another one may take long, with the write lock held.
    history: list[tuple[Role, str]] | None = [] if request.conversation_id is None else None
    return Begun(Recorded(user, claimed, new=True), Claimed(claimed), history)


def _insert_question(connection: Connection, request: NewRequest) -> tuple[StoredMessage, dict[str, Any]]:
    """The user's message, and what else was asked, as columns of the answer's row."""
    now = present()
    if request.conversation_id is None:
        title = title_of(request.content)
        conversation_id = insert_conversation(connection, request.owner, title, request.request_id).id
    else:
        conversation_id = request.conversation_id
        # Checks the owner, and locks the conversation: the requests of one conversation get their ids in the order
        # of their commits, so a claim that sees no earlier answer will never see one later.
        touched = connection.execute(
            _UPDATE_OWN_CONVERSATION, {"of_id": conversation_id, "of_owner": request.owner, "updated_at": now}
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
    asked = {
        "asked_model": request.model,
        "asked_options": None if request.options is None else msgspec.json.encode(request.options).decode(),
    }
    return _insert(connection, _INSERT_MESSAGE, user, {}), asked


def _placeholder(user: StoredMessage) -> StoredMessage:
    return msgspec.structs.replace(user, role=Role.ASSISTANT, status=MessageStatus.PENDING, content="")


def find_request(connection: Connection, request: NewRequest) -> Recorded | None:
    """The two rows of a request that was recorded before."""
    if request.conversation_id is None:
        conversation = conversations.c.request_id == request.request_id
    else:
        conversation = conversations.c.id == request.conversation_id
    where = (conversation, conversations.c.owner == request.owner, messages.c.request_id == request.request_id)
    rows = read_messages(connection, *where, limit=2, oldest_first=True)
    match rows:
        case [user, answer]:
            return Recorded(user, answer, new=False)
        case _:
            return None


def claim(connection: Connection, message_id: int, worker: str, lease_ms: int, max_attempts: int) -> Claim:
    """See `Store.claim`."""
    row = connection.execute(_LOOK_AND_LOCK, {"of_id": message_id}).mappings().first()
    if row is None:
        raise no_such_answer()
    answer = msgspec.convert(row, StoredMessage)
    if answer.status.terminal:
        return Ended(answer)
    if row["lease_left_ms"] > 0:
        return RunningElsewhere(answer, row["lease_left_ms"])
    if row["answers_before"]:
        return NotYourTurn(answer, row["answers_before"])
    if answer.attempts >= max_attempts:
        return Ended(_give_up(connection, answer))
    # The look has locked the row, so what it saw still holds.
    claimed = {
        "status": MessageStatus.STREAMING,
        "epoch": answer.epoch + 1,
        "attempts": answer.attempts + 1,
        "content": "",
        "reasoning": None,
    }
    connection.execute(
        _CLAIM,
        {"of_id": message_id, "lease_ms": lease_ms, "lease_owner": worker, "updated_at": present(), **claimed},
    )
    return Claimed(msgspec.structs.replace(answer, **claimed))


def checkpoint(connection: Connection, checkpoints: list[Checkpoint], lease_ms: int) -> set[int]:
    """See `Store.checkpoint`."""
    now = present()
    # Always in the same order: two workers that lock the same rows do not wait for each other in a ring.
    rows = [
        {
            "of_id": one.message_id,
            "of_epoch": one.epoch,
            "updated_at": now,
            "lease_ms": lease_ms,
            "content": one.content,
            "reasoning": one.reasoning,
        }
        for one in sorted(checkpoints, key=lambda checkpoint: checkpoint.message_id)
    ]
    # One statement for all: a hundred of them would hold up every token for 30 ms.
    if connection.execute(_CHECKPOINT, rows).rowcount == len(rows):
        return set()
    ours = {(one.message_id, one.epoch) for one in checkpoints}
    ids = [one.message_id for one in checkpoints]
    running = {(row.id, row.epoch) for row in connection.execute(_RUNNING, {"of_ids": ids})}
    return {message_id for message_id, _ in ours - running}


def finish(connection: Connection, running: StoredMessage, outcome: Outcome) -> StoredMessage | None:
    """See `Store.finish`."""
    ended = msgspec.structs.asdict(outcome)
    # What a model server says has no bound; a column has.
    for name in _LENGTHS.keys() & ended.keys():
        if ended[name] is not None and len(ended[name]) > _LENGTHS[name]:
            ended[name] = ended[name][: _LENGTHS[name]]
    if not _execute_on_running(connection, _UPDATE_RUNNING, running.id, running.epoch, ended | _NO_LEASE):
        return None
    connection.execute(_UPDATE_CONVERSATION, {"of_id": running.conversation_id, "updated_at": present()})
    return msgspec.structs.replace(running, **ended)


def release(connection: Connection, message_id: int, epoch: int) -> None:
    """See `Store.release`."""
    _execute_on_running(connection, _RELEASE, message_id, epoch, {"lease_until": 0})


def cancel(connection: Connection, owner: str, message_id: int | None, request_id: str | None) -> StoredMessage:
    """See `Store.cancel`."""
    answer = find_answer(connection, owner, message_id, request_id)
    cancelled = {"status": MessageStatus.CANCELLED, "updated_at": present(), **_NO_LEASE}
    connection.execute(_UPDATE_UNATTENDED, {"of_id": answer.id, **cancelled})
    # Read again also where nothing was changed: it may just have been claimed or finished.
    return existing_message(connection, answer.id)


def find_answer(connection: Connection, owner: str, message_id: int | None, request_id: str | None) -> StoredMessage:
    """See `Store.find_answer`."""
    named = messages.c.request_id == request_id if message_id is None else messages.c.id == message_id
    answer = read_message(connection, named, messages.c.role == Role.ASSISTANT, conversations.c.owner == owner)
    if answer is None:
        raise no_such_answer()
    return answer


def existing_message(connection: Connection, message_id: int) -> StoredMessage:
    row = connection.execute(_READ, {"of_id": message_id}).mappings().first()
    if row is None:
        raise no_such_answer()
    return msgspec.convert(row, StoredMessage)


def no_such_answer() -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, "There is no such answer.")


def _execute_on_running(
    connection: Connection, statement: Update, message_id: int, epoch: int, values: dict[str, Any]
) -> bool:
    """Whether the answer still ran under this epoch, and so was changed."""
    changed = connection.execute(statement, {"of_id": message_id, "of_epoch": epoch, "updated_at": present(), **values})
    return changed.rowcount == 1


def _insert(connection: Connection, statement: Insert, message: StoredMessage, more: dict[str, Any]) -> StoredMessage:
    row = msgspec.structs.asdict(message)
    del row["id"]
    result = connection.execute(statement, {**row, "updated_at": message.created_at, **more})
    return msgspec.structs.replace(message, id=result.lastrowid)


def _give_up(connection: Connection, answer: StoredMessage) -> StoredMessage:
    gave_up = {
        "status": MessageStatus.ERROR,
        "finish_reason": GAVE_UP,
        "error_code": ErrorCode.INTERNAL.value,
        "error_message": f"Gave up after {answer.attempts} attempts: no worker lived to end it.",
    }
    connection.execute(_UPDATE_ANSWER, {"of_id": answer.id, "updated_at": present(), **gave_up, **_NO_LEASE})
    return msgspec.structs.replace(answer, **gave_up)
