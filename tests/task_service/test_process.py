"""The service as production runs it: driven and followed over the bus, killed, stopped."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from libs.bus.connection import Bus, connect
from libs.contract import subjects
from libs.contract.errors import RequestError
from libs.contract.tasks import TaskStatus
from libs.database.engine import opened_engine
from libs.database.migrations import upgrade
from services.task_service.main import MIGRATIONS
from tests.brokers import Server, nats_server
from tests.processes import ServiceProcess, service
from tests.task_service.asking import ask, following, state
from tests.waiting import until, until_answer

# What has nothing to do with the kind of the database is tried with one: each try starts a process.
with_one_database = pytest.mark.parametrize("task_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def tasks_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = nats_server(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shared_tasks(
    tasks_nats: Server, sqlite_task_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """One for all tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("tasks")
    file = shutil.copy(sqlite_task_file, folder / "task.db")
    env = {"NATS_URL": tasks_nats.url, "TASK_SERVICE_DATABASE_URL": f"sqlite+aiosqlite:///{file}"}
    with service("task_service", env, folder / "log") as running:
        yield running


@pytest.fixture
async def tasks_bus(tasks_nats: Server) -> AsyncIterator[Bus]:
    async with connect(tasks_nats.url, name="test") as connected:
        yield connected


@pytest.fixture
def tasks(bus: Bus, nats: Server, task_url: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A running task service."""
    env = {"NATS_URL": nats.url, "TASK_SERVICE_DATABASE_URL": task_url}
    with service("task_service", env, tmp_path / "log") as running:
        yield running


async def test_a_task_from_its_creation_to_its_end(tasks: ServiceProcess, bus: Bus) -> None:
    """Every command, and every change heard by a subscriber as its caller was told it."""
    created = await ask(bus, "create", title="Relatório 📈", priority="high", subtasks=[{"title": "one"}])
    assert (created["type"], created["id"], created["data"]["revision"]) == ("task:created", "f1", 1)
    task_id, subtask_id = created["data"]["task"]["id"], created["data"]["subtasks"][0]["id"]
    async with following(bus, task_id) as follower:
        snapshot = await ask(bus, "get", taskId=task_id)
        assert snapshot == {**created, "type": "task:update"}
        told = [
            await state(bus, "update", taskId=task_id, status="executing"),
            await state(
                bus, "update", taskId=task_id, subtasks=[{"id": subtask_id, "status": "executing"}, {"title": "two"}]
            ),
            await state(bus, "update", taskId=task_id, subtasks=[{"id": subtask_id, "status": "completed"}]),
            await state(bus, "cancel", taskId=task_id),
        ]
        await follower.until_revision(5)
    assert [one for one in follower.heard if one.revision > 1] == told
    assert [one.task.progress for one in told] == [0, 0, 50, 50]
    assert told[-1].task.status is TaskStatus.CANCELLED
    listed = await ask(bus, "list", status="cancelled", text="RELATÓRIO")
    assert listed["type"] == "task:list"
    assert [task["id"] for task in listed["data"]["tasks"]] == [task_id]
    missed = await ask(bus, "changes", taskId=task_id, afterRevision=2)
    assert [one["data"] for one in missed["data"]["frames"]] == msgspec.to_builtins(told[1:])
    assert missed["data"]["complete"] is True
    assert tasks.metric("task_service_commands") == 8
    await until_answer(lambda: asyncio.to_thread(lambda: tasks.metric("task_service_updates_published") == 5))


async def test_refusals_are_error_frames(shared_tasks: ServiceProcess, tasks_bus: Bus) -> None:
    """With the code, and for people the name of what cannot be."""
    await state(tasks_bus, "update", taskId=1, status="executing")
    await state(tasks_bus, "update", taskId=1, status="completed")
    refused = await ask(tasks_bus, "update", taskId=1, status="executing")
    assert (refused["type"], refused["id"]) == ("error", "f1")
    assert refused["data"]["code"] == "conflict"
    assert refused["data"]["message"] == "Task 1: a completed task cannot become executing."
    assert refused["data"]["retryable"] is False
    assert (await ask(tasks_bus, "get", taskId=4711))["data"]["code"] == "not_found"
    assert (await ask(tasks_bus, "get", taskId="one"))["data"]["code"] == "invalid_frame"
    assert (await ask(tasks_bus, "create", title=""))["data"]["code"] == "invalid_frame"
    assert (await ask(tasks_bus, "dance"))["data"]["code"] == "unknown_type"


async def test_two_services_serve_one_task(
    tasks: ServiceProcess, bus: Bus, nats: Server, task_url: str, tmp_path: Path
) -> None:
    """A hundred changes through whichever is free: every revision is told, as its caller was told it.

    Two services may tell theirs in the wrong order by a moment; one tells all of its own in order, also those at once.
    """
    env = {"NATS_URL": nats.url, "TASK_SERVICE_DATABASE_URL": task_url}
    async with following(bus, 1) as follower:
        told = await asyncio.gather(*(state(bus, "update", taskId=1, progress=number) for number in range(20)))
        await follower.until_revision(21)
        assert list(dict.fromkeys(follower.revisions)) == list(range(2, 22))
        with service("task_service", env, tmp_path / "other.log") as other:
            for start in range(20, 100, 10):
                told += await asyncio.gather(*(state(bus, "update", taskId=1, progress=start + i) for i in range(10)))
            await until(lambda: set(follower.revisions) == set(range(2, 102)))
            shares = [one.metric("task_service_commands") for one in (tasks, other)]
    heard = {one.revision: one for one in follower.heard}
    assert heard == {one.revision: one for one in told}
    assert sum(shares) == 100
    assert min(shares) > 0, "one service did all of it"


async def test_a_killed_service_loses_no_update(tasks: ServiceProcess, bus: Bus) -> None:
    """SIGKILL in the middle of changes: what was answered stands, and every revision reaches the subscriber."""
    answered: list[int] = []

    async def change_until_killed() -> None:
        try:
            for progress in range(10_000):
                changed = await state(bus, "update", taskId=1, progress=progress % 100, requestId=f"r{progress}")
                answered.append(changed.revision)
        except RequestError:
            return

    async with following(bus, 1) as follower:
        changing = asyncio.create_task(change_until_killed())
        await follower.until_revision(20)
        tasks.signal(signal.SIGKILL)
        await asyncio.to_thread(tasks.wait)
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        tasks.restart()
        await asyncio.to_thread(tasks.wait_until_ready)
        last = await state(bus, "update", taskId=1, title="after the crash")
        # What was committed and not told before the crash comes late, and what was told may come again.
        await until(lambda: set(follower.revisions) == set(range(2, last.revision + 1)))
    assert answered == list(range(2, 2 + len(answered)))
    assert last.revision > answered[-1]
    assert last in follower.heard


async def test_sigterm_publishes_what_was_changed_and_exits_with_zero(
    tasks: ServiceProcess, bus: Bus, task_url: str
) -> None:
    """Nothing is left for the next start."""
    async with following(bus, 1) as follower:
        changes = [asyncio.create_task(ask(bus, "update", taskId=1, progress=number)) for number in range(20)]
        await changes[0]
        tasks.signal(signal.SIGTERM)
        assert await asyncio.to_thread(tasks.wait) == 0
        answers = await asyncio.gather(*changes, return_exceptions=True)
        revisions = sorted(
            answer["data"]["revision"] for answer in answers if isinstance(answer, dict) and answer["type"] != "error"
        )
        await follower.until_revision(revisions[-1])
    assert set(revisions) <= set(follower.revisions)
    async with opened_engine(task_url) as engine, engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM task_frames WHERE published = 0")) == 0


@with_one_database
async def test_readiness_names_what_is_away_and_comes_back(tasks: ServiceProcess, nats: Server) -> None:
    """It waits for NATS; it does not die of it."""
    assert tasks.readiness() == {
        "ready": True,
        "failing": [],
        "checks": {"nats": "ok", "database": "ok"},
        "optional": {},
    }
    nats.kill()
    await until_answer(lambda: asyncio.to_thread(lambda: tasks.readiness()["failing"] == ["nats"]))
    nats.start()
    await until_answer(lambda: asyncio.to_thread(tasks.is_ready), seconds=20)


async def test_a_frame_that_is_no_request_is_logged_and_ends_nothing(
    shared_tasks: ServiceProcess, tasks_bus: Bus
) -> None:
    """Whoever speaks nonsense on the bus gets no answer; the next one does."""
    with pytest.raises(RequestError):
        await tasks_bus.request("task.v1.command.get", b"nonsense", timeout=0.3)
    assert await ask(tasks_bus, "get", taskId=1)
    assert "a request failed" in [line["event"] for line in shared_tasks.lines()]


async def test_no_title_is_in_the_log(shared_tasks: ServiceProcess, tasks_bus: Bus) -> None:
    """What people write stays in the database."""
    created = await ask(tasks_bus, "create", title="segredo")
    task_id = created["data"]["task"]["id"]
    await ask(tasks_bus, "update", taskId=task_id, title="segredo", status="completed")
    assert "segredo" not in shared_tasks.log.read_text()
    assert {"task created", "command refused"} <= {line["event"] for line in shared_tasks.lines()}


@pytest.mark.thorough
def test_without_nats_it_does_not_start(tmp_path: Path) -> None:
    """One sentence that says what to do, and exit code 1."""
    env = {
        "NATS_URL": "nats://127.0.0.1:1",
        "TASK_SERVICE_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'x.db'}",
    }
    tasks = ServiceProcess("task_service", env, tmp_path / "log")
    try:
        assert tasks.wait(20) == 1
    except subprocess.TimeoutExpired:
        tasks.end()
        raise
    (record,) = [line for line in tasks.lines() if line["event"] == "cannot start"]
    assert "NATS does not answer at nats://127.0.0.1:1" in record["reason"]


async def test_it_waits_for_the_schema_as_it_may_start_beside_the_provisioning_step(
    bus: Bus, nats: Server, tmp_path: Path
) -> None:
    """It does not answer, and is not ready, before there are tables; and then it is without a restart."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'tasks.db'}"
    env = {"NATS_URL": nats.url, "TASK_SERVICE_DATABASE_URL": url}
    waiting = ServiceProcess("task_service", env, tmp_path / "log")
    try:
        # By then it has connected to both, and looks for its tables.
        await until_answer(lambda: asyncio.to_thread((tmp_path / "tasks.db").exists), seconds=20)
        with pytest.raises(RequestError, match="No service answers"):
            await bus.request(subjects.task_command("get"), b"{}", timeout=5)
        await upgrade(url, MIGRATIONS)
        await until_answer(lambda: asyncio.to_thread(waiting.is_ready), seconds=20)
        assert waiting.process.poll() is None
    finally:
        waiting.end()


async def test_a_request_without_an_id_can_be_repeated_under_the_one_that_its_error_tells(
    shared_tasks: ServiceProcess, tasks_bus: Bus
) -> None:
    """The gateway gives every request an id."""
    request = {"requestId": "of-the-gateway", "user": "local", "reply": "", "type": "task:create"}
    for data in ({"title": "once"}, {"title": "once", "requestId": "of-the-gateway"}):
        answer = await tasks_bus.request(
            subjects.task_command("create"), msgspec.json.encode({**request, "data": data}), timeout=5
        )
        created = msgspec.json.decode(answer)["data"]["task"]
        assert created["title"] == "once"
    listed = await ask(tasks_bus, "list", text="once")
    assert len(listed["data"]["tasks"]) == 1
