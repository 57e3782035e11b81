"""Commands about tasks, carried out by any one service: `task.v1.command.<verb>`, request and reply.

gateway ── ClientRequest ──▶ Commands.answer ─▶ store ─▶ database
        ◀── finished frame ──     └── a change, committed ─▶ Publisher.publish
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec.structs import replace

from libs.contract import frames, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from libs.contract.tasks import (
    TaskCancel,
    TaskChanges,
    TaskCreate,
    TaskGet,
    TaskList,
    TaskState,
    TaskStatus,
    TaskUpdate,
)
from services.task_service import metrics
from services.task_service.store import Store

log = structlog.get_logger(__name__)

D = TypeVar("D")
C = TypeVar("C", TaskCreate, TaskUpdate)
Answer = Callable[[ClientRequest], Awaitable[bytes]]

_requests = msgspec.json.Decoder(ClientRequest)


class Commands:
    """Answers every command of the table below with a finished frame; errors are frames too."""

    def __init__(self, store: Store, publish: Callable[[TaskState], Awaitable[None]]) -> None:
        self._store = store
        self._publish = publish
        # Those who change one task wait for each other here rather than in the database, with a connection each; and
        # what is committed first is published first.
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._answers: dict[str, Answer] = {
            "create": self._create,
            "get": self._get,
            "list": self._list,
            "changes": self._missed,
            "update": self._update,
            "cancel": self._cancel,
        }

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """The finished frame that answers one `ClientRequest`."""
        request = _requests.decode(payload)
        verb = subjects.last_token(subject)
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            try:
                if verb not in self._answers:
                    raise RequestError(ErrorCode.UNKNOWN_TYPE, f"This task service knows no {verb!r}.")
                frame = await self._answers[verb](request)
            except RequestError as error:
                return self._refused(request, verb, error)
            except Exception:
                log.exception("a command failed", verb=verb)
                failure = RequestError(ErrorCode.INTERNAL, "Something went wrong here. Try again.")
                return self._refused(request, verb, failure)
            metrics.COMMANDS.labels(verb).inc()
            return frame

    def _refused(self, request: ClientRequest, verb: str, error: RequestError) -> bytes:
        known = verb if verb in self._answers else "unknown"
        log.info("command refused", verb=known, code=error.code)
        metrics.REFUSALS.labels(known, error.code).inc()
        return frames.encode_error(error, frame_id=request.frame_id, request_id=request.request_id)

    async def _create(self, request: ClientRequest) -> bytes:
        state = await self._store.create(request.user, _named(request, _data(request, TaskCreate)))
        await self._publish(state)
        log.info("task created", task_id=state.task.id)
        return frames.encode("task:created", state, frame_id=request.frame_id)

    async def _get(self, request: ClientRequest) -> bytes:
        state = await self._store.get(request.user, _data(request, TaskGet).task_id)
        return frames.encode("task:update", state, frame_id=request.frame_id)

    async def _list(self, request: ClientRequest) -> bytes:
        page = await self._store.list_tasks(request.user, _data(request, TaskList))
        return frames.encode("task:list", page, frame_id=request.frame_id)

    async def _missed(self, request: ClientRequest) -> bytes:
        missed = await self._store.missed(request.user, _data(request, TaskChanges))
        return frames.encode("task:changes", missed, frame_id=request.frame_id)

    async def _update(self, request: ClientRequest) -> bytes:
        return await self._change(request, _data(request, TaskUpdate), "update", "task:updated")

    async def _cancel(self, request: ClientRequest) -> bytes:
        asked = _data(request, TaskCancel)
        update = TaskUpdate(
            asked.task_id, status=TaskStatus.CANCELLED, revision=asked.revision, request_id=asked.request_id
        )
        return await self._change(request, update, "cancel", "task:cancelled")

    async def _change(self, request: ClientRequest, update: TaskUpdate, command: str, answered: str) -> bytes:
        update = _named(request, update)
        async with self._turns.setdefault(update.task_id, asyncio.Lock()):
            state = await self._store.update(request.user, update, command=command)
            await self._publish(state)
        log.info("task changed", task_id=state.task.id, revision=state.revision, status=state.task.status)
        return frames.encode(answered, state, frame_id=request.frame_id)


def _named(request: ClientRequest, asked: C) -> C:
    """With the gateway's id where the client gave none: should the answer be lost, an error tells it that id."""
    return asked if asked.request_id is not None else replace(asked, request_id=request.request_id)


def _data(request: ClientRequest, kind: type[D]) -> D:
    """The data as that kind. Checked here too: what is not a gateway may also speak on the bus."""
    try:
        return msgspec.json.decode(request.data, type=kind)
    except msgspec.DecodeError as error:
        raise RequestError(ErrorCode.INVALID_FRAME, f"{request.type}: {error}.") from error
