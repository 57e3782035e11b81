"""Tasks over HTTP, for scripts: the same requests as over the WebSocket, with the same checks, limits and errors.

POST /api/tasks ─▶ frame `task:create` ─▶ Requests ─▶ task.v1.command.create ─▶ its data, as the body of the response
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Raw
from starlette.exceptions import HTTPException

from libs.contract import frames, tasks
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientFrame, ErrorData
from libs.contract.ids import ID_PATTERN, LOCAL_USER, is_id
from services.gateway.requests import Caller, Question, Requests, error_frame

HTTP_STATUS = {
    ErrorCode.INVALID_FRAME: 400,
    ErrorCode.UNKNOWN_TYPE: 404,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.BUSY: 503,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.MODEL_UNAVAILABLE: 503,
    ErrorCode.MODEL_ERROR: 502,
    ErrorCode.CONTEXT_OVERFLOW: 422,
    ErrorCode.BUS_UNAVAILABLE: 503,
    ErrorCode.SERVICE_UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}

_GOES_AWAY = RequestError(
    ErrorCode.SERVICE_UNAVAILABLE,
    "This gateway goes away before there is an answer. It may still be done: repeat its requestId.",
    retry_after_ms=1000,
)

JSON = "application/json"
KEY = "Idempotency-Key"
SCHEMA = "#/components/schemas/{name}"
# Published as /docs: the contract's own structs, and the error that every route may answer with.
STRUCTS = (tasks.TaskCreate, tasks.TaskUpdate, tasks.TaskState, tasks.Tasks, ErrorData)


def task_routes(requests: Requests, *, max_body_bytes: int) -> APIRouter:
    """`POST` and `GET /api/tasks`, `GET` and `PATCH /api/tasks/{id}`."""
    router = APIRouter(prefix="/api/tasks", tags=["tasks"])

    async def answer(frame_type: str, data: bytes, *, status: int = 200) -> Response:
        frame = msgspec.json.encode(ClientFrame(frame_type, data=Raw(data))).decode()
        caller = Caller(connection_id="", user=LOCAL_USER, reply="")
        outcome = await requests.handle(caller, frame)
        if isinstance(outcome, Question):
            outcome = await _asked(requests, outcome)
        assert isinstance(outcome, bytes)  # noqa: S101 (every frame of this module is asked, none is stored or followed)
        return _response(outcome, status)

    async def answer_body(request: Request, frame_type: str, *, status: int = 200, **fields: Any) -> Response:
        try:
            body = await _json_object(request, max_body_bytes)
        except RequestError as error:
            return _response(error_frame(error))
        return await answer(frame_type, msgspec.json.encode({**body, **fields}), status=status)

    @router.post("", status_code=201, summary="Create a task", **_described("TaskState", body="TaskCreate"))
    async def create(request: Request) -> Response:
        return await answer_body(request, "task:create", status=201)

    @router.get("", summary="List tasks, newest first", **_described("Tasks", query=tasks.TaskList))
    async def list_tasks(request: Request) -> Response:
        try:
            asked = msgspec.convert(dict(request.query_params), tasks.TaskList, strict=False)
        except msgspec.ValidationError as error:
            return _response(error_frame(RequestError(ErrorCode.INVALID_FRAME, f"{error}.")))
        return await answer("task:list", msgspec.json.encode(asked))

    @router.get("/{task_id}", summary="One task as it stands", **_described("TaskState"))
    async def get(task_id: int) -> Response:
        return await answer("task:get", msgspec.json.encode({"taskId": task_id}))

    @router.patch("/{task_id}", summary="Change a task", **_described("TaskState", body="TaskChange"))
    async def update(task_id: int, request: Request) -> Response:
        return await answer_body(request, "task:update", taskId=task_id)

    return router


async def refuse_address(request: Request, error: Exception) -> Response:
    """No such path, or no such method: FastAPI's own refusal, as one of our errors with its status."""
    assert isinstance(error, HTTPException)  # noqa: S101 (this is its handler)
    code = ErrorCode.NOT_FOUND if error.status_code == HTTP_STATUS[ErrorCode.NOT_FOUND] else ErrorCode.INVALID_FRAME
    refusal = _response(error_frame(RequestError(code, f"{request.method} {request.url.path}: {error.detail}.")))
    refusal.status_code = error.status_code
    return refusal


async def refuse_parameters(_: Request, error: Exception) -> Response:
    """FastAPI's own refusal of a path's parameters, as one of our errors."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 (this is its handler)
    return _response(error_frame(RequestError(ErrorCode.INVALID_FRAME, f"{error.errors()[0]['msg']}.")))


def openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """FastAPI's own description, with the contract's structs that its routes refer to."""
    described = app.openapi

    def openapi_with_contract() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            _, schemas = msgspec.json.schema_components(STRUCTS, ref_template=SCHEMA)
            change = {**schemas["TaskUpdate"], "title": "TaskChange", "required": []}
            # The id stands in the path.
            change["properties"] = {name: value for name, value in change["properties"].items() if name != "taskId"}
            del schemas["TaskUpdate"]
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas, TaskChange=change)
            app.openapi_schema = document
        return app.openapi_schema

    return openapi_with_contract


async def _asked(requests: Requests, question: Question) -> bytes:
    try:
        return await requests.ask(question)
    except asyncio.CancelledError:
        # uvicorn ends what is open some seconds after the drain; nobody else cancels a request.
        return error_frame(_GOES_AWAY, request_id=question.request.request_id)


def _described(answer: str, *, body: str | None = None, query: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """What OpenAPI says of a route, by the names of the contract's structs."""
    extra: dict[str, Any] = {}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": _content(body)}
        extra["parameters"] = [{"name": KEY, "in": "header", "schema": {"type": "string", "pattern": ID_PATTERN}}]
    if query is not None:
        _, schemas = msgspec.json.schema_components([query], ref_template=SCHEMA)
        properties = schemas[query.__name__]["properties"]
        extra["parameters"] = [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    return {
        "response_class": Response,
        "openapi_extra": extra,
        "responses": {
            201 if body == "TaskCreate" else 200: {"description": answer, "content": _content(answer)},
            "default": {"description": "What went wrong and what to do", "content": _content("ErrorData")},
        },
    }


def _content(struct: str) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": SCHEMA.format(name=struct)}}}


def _response(frame: bytes, status: int = 200) -> Response:
    """The data of a finished frame. An error has its own status."""
    headers = {}
    try:
        frames.checked(frame)
    except RequestError as error:
        status = HTTP_STATUS[error.code]
        if error.retry_after_ms is not None:
            headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return Response(frames.data_of(frame), status, headers, JSON)


async def _json_object(request: Request, max_bytes: int) -> dict[str, Raw]:
    """The body. Raises `RequestError`.

    Only with its content type: a page of some other site can make a browser send anything but that unasked.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RequestError(ErrorCode.INVALID_FRAME, f"Send JSON, with the header Content-Type: {JSON} (curl --json).")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            raise RequestError(ErrorCode.TOO_LARGE, f"The body has more than {max_bytes} bytes.")
    try:
        found: dict[str, Raw] = msgspec.json.decode(body.decode(), type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(ErrorCode.INVALID_FRAME, f"The body is a JSON object: {error}.") from error
    # The field says it too; scripts often find the header easier.
    key = request.headers.get(KEY)
    if key is not None:
        if not is_id(key):
            raise RequestError(ErrorCode.INVALID_FRAME, f"An {KEY} has 1 to 64 letters, digits, _ and -.")
        found.setdefault("requestId", Raw(msgspec.json.encode(key)))
    return found
