"""What the chat worker remembers: one method, one transaction.

An answer's life. Every arrow is a compare-and-set, so of two workers one wins:

    record ─▶ pending ── claim ─▶ streaming, epoch + 1 ── finish ─▶ complete | cancelled | interrupted | error
                 │                 │    ▲  checkpoint: text, lease
                 └──── cancel ─────┘    └─ claim again, once the lease has run out or was released

Every method raises `DatabaseUnavailable` when the database is away, and `RequestError(not_found)` for what does
not exist or is somebody else's.
"""

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.contract.chat import Conversation, Conversations, Role
from libs.database.transactions import in_transaction
from services.chat_worker import store_answers, store_conversations, store_forgotten, store_reading
from services.chat_worker.records import (
    Begun,
    Checkpoint,
    Claim,
    HistoryPage,
    NewRequest,
    Outcome,
    Recorded,
    StoredMessage,
)


class Store:
    """The chat worker's database. Safe to use from many tasks, and from many workers at once."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    # ---- An answer's life ---------------------------------------------------------------------------------------

    async def record(self, request: NewRequest) -> Recorded:
        """Stores the user's message and a pending answer to it; a repeat of the request gives the same two rows."""
        try:
            return await in_transaction(self._engine, lambda db: store_answers.insert_request(db, request))
        except IntegrityError:
            # Recorded before, or by another worker at this very moment.
            return await self._recorded_before(request)

    async def begin(self, request: NewRequest, *, worker: str, lease_ms: int) -> Begun:
        """`record`, and of a new request `claim` as well, in one transaction."""
        try:
            return await in_transaction(
                self._engine, lambda db: store_answers.begin_request(db, request, worker, lease_ms)
            )
        except IntegrityError:
            return Begun(await self._recorded_before(request))

    async def find(self, request: NewRequest) -> Recorded | None:
        """The rows of a request that was recorded before."""
        return await in_transaction(self._engine, lambda db: store_answers.find_request(db, request), read_only=True)

    async def claim(self, message_id: int, *, worker: str, lease_ms: int, max_attempts: int) -> Claim:
        """Takes an answer to run it: its epoch rises, its text is emptied, the lease runs for `lease_ms` from now.

        Only a pending answer or one whose lease has run out, and only when no earlier one of the conversation is
        unfinished. One that `max_attempts` workers have taken in vain ends as an error.
        """
        return await in_transaction(
            self._engine, lambda db: store_answers.claim(db, message_id, worker, lease_ms, max_attempts)
        )

    async def checkpoint(self, checkpoints: list[Checkpoint], *, lease_ms: int) -> set[int]:
        """Saves the text of running answers and prolongs their leases; gives the ids that are no longer ours."""
        return await in_transaction(self._engine, lambda db: store_answers.checkpoint(db, checkpoints, lease_ms))

    async def finish(self, running: StoredMessage, outcome: Outcome) -> StoredMessage | None:
        """Ends a running answer, which is as `claim` gave it; None: it was no longer ours, and nothing is changed."""
        return await in_transaction(self._engine, lambda db: store_answers.finish(db, running, outcome))

    async def release(self, message_id: int, epoch: int) -> None:
        """Hands a running answer back: whoever claims it next gets it at once."""
        await in_transaction(self._engine, lambda db: store_answers.release(db, message_id, epoch))

    async def cancel(
        self, owner: str, *, message_id: int | None = None, request_id: str | None = None
    ) -> StoredMessage:
        """Cancels an answer that no live worker runs, and keeps its text. Gives it as it then is.

        One that runs is left to its worker, and comes back as streaming.
        """
        return await in_transaction(self._engine, lambda db: store_answers.cancel(db, owner, message_id, request_id))

    async def take_forgotten(self, *, older_than_seconds: float, limit: int) -> list[NewRequest]:
        """The requests of unfinished answers that nothing has happened to for so long, each for one caller only.

        Only the first ones of their conversations: those behind them wait rightly.
        """
        return await in_transaction(
            self._engine, lambda db: store_forgotten.take_forgotten(db, older_than_seconds, limit)
        )

    # ---- Reading ------------------------------------------------------------------------------------------------

    async def answer(self, message_id: int) -> StoredMessage:
        """The message as it stands."""
        return await in_transaction(
            self._engine, lambda db: store_answers.existing_message(db, message_id), read_only=True
        )

    async def find_answer(
        self, owner: str, *, message_id: int | None = None, request_id: str | None = None
    ) -> StoredMessage:
        """The answer of this id, or to this request."""
        return await in_transaction(
            self._engine, lambda db: store_answers.find_answer(db, owner, message_id, request_id), read_only=True
        )

    async def context(self, conversation_id: int, *, before_message_id: int, limit: int) -> list[tuple[Role, str]]:
        """The last `limit` messages before that one which have something to say to the model, newest first."""
        return await in_transaction(
            self._engine,
            lambda db: store_reading.read_context(db, conversation_id, before_message_id, limit),
            read_only=True,
        )

    async def history(
        self, owner: str, conversation_id: int | None, *, limit: int, before: int | None = None
    ) -> HistoryPage:
        """The last `limit` messages (before message `before`), fewer when their text is over 512 KiB.

        Without `conversation_id`: of the conversation used last, or an empty page when there is none.
        """
        return await in_transaction(
            self._engine,
            lambda db: store_reading.read_history(db, owner, conversation_id, limit, before),
            read_only=True,
        )

    # ---- Conversations ------------------------------------------------------------------------------------------

    async def list_conversations(self, owner: str, *, limit: int, before: str | None = None) -> Conversations:
        """Most recently used first. Raises `RequestError(invalid_frame)` if `before` is no cursor of ours."""
        return await in_transaction(
            self._engine,
            lambda db: store_conversations.list_conversations(db, owner, limit, before),
            read_only=True,
        )

    async def create_conversation(
        self, owner: str, *, title: str | None = None, request_id: str | None = None
    ) -> Conversation:
        """Opens a conversation; a repeat of the request gives the same one."""
        try:
            return await in_transaction(
                self._engine, lambda db: store_conversations.insert_conversation(db, owner, title, request_id)
            )
        except IntegrityError:
            if request_id is None:
                raise
            return await self._conversation_of(owner, request_id)

    async def rename_conversation(self, owner: str, conversation_id: int, title: str) -> Conversation:
        return await in_transaction(
            self._engine, lambda db: store_conversations.rename_conversation(db, owner, conversation_id, title)
        )

    async def delete_conversation(self, owner: str, conversation_id: int) -> list[int]:
        """Deletes it with its messages; gives the ids of the unfinished answers, for the caller to stop."""
        return await in_transaction(
            self._engine, lambda db: store_conversations.delete_conversation(db, owner, conversation_id)
        )

    async def _recorded_before(self, request: NewRequest) -> Recorded:
        found = await self.find(request)
        if found is not None:
            return found
        if request.conversation_id is not None:
            raise store_reading.no_such_conversation(request.conversation_id)
        # The request has opened its conversation by `create_conversation`, and says its first message now.
        opened = await self._conversation_of(request.owner, request.request_id)
        return await self.record(msgspec.structs.replace(request, conversation_id=opened.id))

    async def _conversation_of(self, owner: str, request_id: str) -> Conversation:
        return await in_transaction(
            self._engine,
            lambda db: store_conversations.conversation_of_request(db, owner, request_id),
            read_only=True,
        )
