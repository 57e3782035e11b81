"""Tasks over HTTP: the requests of the WebSocket, with statuses that scripts understand."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from libs.bus.connection import Bus
from libs.contract import frames, subjects
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest
from services.gateway.http_tasks import HTTP_STATUS
from tests.gateway.played import played_tasks, task_state
from tests.on_the_bus import serving
from tests.processes import ServiceProcess
from tests.waiting import until


@pytest.fixture
async def http(shared_gateway: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{shared_gateway.port}", trust_env=False) as client:
        yield client


@pytest.fixture
async def asked(shared_bus: Bus) -> AsyncIterator[list[tuple[str, Any]]]:
    """What reaches the task service, which answers everything but `conflict` with task 7."""
    commands: list[tuple[str, Any]] = []

    async def answer(subject: str, payload: bytes) -> bytes:
        data = json.loads(bytes(msgspec.json.decode(payload, type=ClientRequest).data))
        commands.append((subjects.last_token(subject), data))
        if data.get("title") == "conflict":
            return frames.encode_error(RequestError(ErrorCode.CONFLICT, "It has ended.", retry_after_ms=1500))
        return frames.encode("task:update", task_state(7, 3))

    async with serving(shared_bus, subjects.TASK_COMMAND_ALL, answer):
        yield commands


async def test_every_route_sends_the_request_of_the_websocket(
    http: httpx.AsyncClient, asked: list[tuple[str, Any]]
) -> None:
    """The body is the data of the frame, the answer is the data of the answer."""
    created = await http.post("/api/tasks", json={"title": "Olá"}, headers={"Idempotency-Key": "k-1"})
    assert created.status_code == httpx.codes.CREATED
    assert created.json() == json.loads(msgspec.json.encode(task_state(7, 3)))
    assert (await http.get("/api/tasks/7")).json()["revision"] == 3
    assert (await http.patch("/api/tasks/7", json={"progress": 40, "requestId": "r"})).status_code == httpx.codes.OK
    assert (await http.get("/api/tasks", params={"status": "failed", "limit": "2"})).status_code == httpx.codes.OK
    assert asked == [
        ("create", {"title": "Olá", "requestId": "k-1"}),
        ("get", {"taskId": 7}),
        ("update", {"progress": 40, "requestId": "r", "taskId": 7}),
        ("list", {"status": "failed", "limit": 2}),
    ]


@pytest.mark.parametrize(
    ("method", "path", "content", "says"),
    [
        ("POST", "/api/tasks", b"[]", "The body is a JSON object"),
        ("POST", "/api/tasks", b"{", "The body is a JSON object"),
        ("POST", "/api/tasks", b'{"title":' + b"[" * 5000 + b"]" * 5000 + b"}", "recursion"),
        ("POST", "/api/tasks", b'{"title":""}', "$.title"),
        ("POST", "/api/tasks", b'{"title":"\xff"}', "The body is a JSON object"),
        ("POST", "/api/tasks", b'{"title":"x"} ,"type":"chat:send"', "The body is a JSON object"),
        ("PATCH", "/api/tasks/7", b'{"progress":101}', "$.progress"),
        ("PATCH", "/api/tasks/0", b"{}", "$.taskId"),
        ("GET", "/api/tasks/seven", None, "valid integer"),
        ("GET", f"/api/tasks/{2**70}", None, "taskId"),
        ("GET", "/api/tasks?limit=0", None, "$.limit"),
        ("GET", "/api/tasks?status=done", None, "'done'"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    http: httpx.AsyncClient, method: str, path: str, content: bytes | None, says: str
) -> None:
    """400, `invalid_frame`."""
    response = await http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == httpx.codes.BAD_REQUEST
    assert response.json()["code"] == "invalid_frame"
    assert says in response.json()["message"]


async def test_a_form_of_another_site_is_refused(http: httpx.AsyncClient) -> None:
    """Browsers send forms and plain text anywhere without asking; JSON they do not."""
    response = await http.post("/api/tasks", content='{"title":"x"}', headers={"Content-Type": "text/plain"})
    assert response.status_code == httpx.codes.BAD_REQUEST
    assert "application/json" in response.json()["message"]


async def test_errors_have_their_own_status(http: httpx.AsyncClient, asked: list[tuple[str, Any]]) -> None:
    """A conflict is 409, too much is 413, and a wait is told in the way of HTTP too."""
    conflict = await http.post("/api/tasks", json={"title": "conflict"})
    assert (conflict.status_code, conflict.headers["Retry-After"]) == (409, "2")
    assert conflict.json() == {
        "code": "conflict",
        "message": "It has ended.",
        "retryable": False,
        "retryAfterMs": 1500,
    }
    large = await http.post("/api/tasks", json={"title": "x", "description": "y" * 70_000})
    assert (large.status_code, large.json()["code"]) == (413, "too_large")


async def test_without_a_task_service_the_answer_is_503(http: httpx.AsyncClient) -> None:
    """At once, with a time to come back."""
    response = await http.get("/api/tasks/1")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json()["code"] == "service_unavailable"


async def test_a_gateway_that_goes_away_answers_what_it_was_asked(bus: Bus, gateway: ServiceProcess) -> None:
    """503 in our own words, also while the task service is silent."""
    async with played_tasks(bus) as tasks, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        tasks.answering.clear()
        asking = asyncio.create_task(client.get(f"http://127.0.0.1:{gateway.port}/api/tasks/1"))
        await until(lambda: tasks.asked)
        gateway.signal(signal.SIGTERM)
        response = await asking
        tasks.answering.set()
    assert (response.status_code, response.json()["code"]) == (503, "service_unavailable")


def test_every_error_has_a_status() -> None:
    """The map is total."""
    assert set(HTTP_STATUS) == set(ErrorCode)


async def test_the_description_is_whole_and_its_page_needs_no_other_server(http: httpx.AsyncClient) -> None:
    """Every reference leads somewhere; the page loads scripts from here only."""
    document = (await http.get("/openapi.json")).json()
    text = json.dumps(document)
    known = document["components"]["schemas"]
    for reference in {piece.partition('"')[0] for piece in text.split('"$ref": "')[1:]}:
        assert reference.removeprefix("#/components/schemas/") in known
    assert set(document["paths"]) == {"/api/tasks", "/api/tasks/{task_id}"}
    assert "taskId" not in known["TaskChange"]["properties"]
    page = (await http.get("/docs")).text
    assert "//cdn" not in page
    script = page.partition('<script src="')[2].partition('"')[0]
    assert (await http.get(script)).status_code == httpx.codes.OK
