"""`python -m libs.provisioning`, against real servers."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from libs.bus.connection import BusUnavailable, connect
from libs.bus.streams import provision
from libs.contract import streams
from libs.database.transactions import DatabaseUnavailable
from libs.local_stack import services
from libs.provisioning import __main__ as provisioning
from libs.provisioning.settings import Settings
from tests.brokers import Server, nats_server
from tests.waiting import until

ROOT = Path(__file__).parents[2]

# What differs between the kinds is tried with both by the test of two processes at once; each try starts a process.
both_but_one_thoroughly = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("mariadb", marks=pytest.mark.thorough)], indirect=True
)


def provisioned(nats_url: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """The command as a person or a container runs it."""
    inherited = dict(os.environ)  # noqa: TID251 (the child needs PATH and the like)
    return subprocess.run(
        services.python("libs.provisioning"),
        env=inherited
        | {"NATS_URL": nats_url, "CHAT_WORKER_DATABASE_URL": database_url, "TASK_SERVICE_DATABASE_URL": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@both_but_one_thoroughly
def test_it_makes_what_is_missing_says_so_and_can_be_repeated(nats: Server, database_url: str) -> None:
    """One line for each schema, one for the streams."""
    first = provisioned(nats.url, database_url)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        "chat_worker schema: from nothing to revision 0002",
        "streams: CHAT, CHAT_DEAD_LETTERS, MONITORING as the contract says",
    ]
    again = provisioned(nats.url, database_url)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == "chat_worker schema: at revision 0002 already"


async def test_two_processes_at_once_both_succeed(nats: Server, database_url: str) -> None:
    """As two containers would that start together."""
    both = await asyncio.gather(*(asyncio.to_thread(provisioned, nats.url, database_url) for _ in range(2)))
    assert [(one.returncode, one.stderr) for one in both] == [(0, "")] * 2
    assert sorted(one.stdout.splitlines()[0] for one in both) == [
        "chat_worker schema: at revision 0002 already",
        "chat_worker schema: from nothing to revision 0002",
    ]


async def test_the_streams_are_there_afterwards(nats: Server, tmp_path: Path) -> None:
    """Queues with their consumer, so that nothing which is published before the first worker starts is lost."""
    await provisioning.provision_all(settings(nats.url, ""))
    async with connect(nats.url, name="test") as bus:
        for stream in streams.ALL:
            assert (await bus.jetstream().stream_info(stream.name)).config.name == stream.name
        info = await bus.jetstream().consumer_info(streams.CHAT.name, streams.CHAT.consumer)
        assert info.name == streams.CHAT.consumer
        await provision(bus, streams.ALL)


def settings(nats_url: str, database_url: str) -> Settings:
    return Settings.model_validate({"NATS_URL": nats_url, "CHAT_WORKER_DATABASE_URL": database_url})


async def test_it_waits_for_a_server_that_is_still_starting(tmp_path: Path) -> None:
    """Everything starts at once in a container stack."""
    server = nats_server(tmp_path)
    waiting = asyncio.create_task(
        provisioning.provision_all(settings(server.url, f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"))
    )
    await asyncio.sleep(0)  # it has begun, and found nobody
    await asyncio.to_thread(server.start)
    try:
        await until(waiting.done, seconds=20)
        waiting.result()
    finally:
        server.kill()


async def test_a_server_that_does_not_come_is_told_after_the_wait(
    nats: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its address, without the password."""
    monkeypatch.setattr(provisioning, "WAIT_SECONDS", 0.3)
    with pytest.raises(BusUnavailable, match=r"127\.0\.0\.1:1 "):
        await provisioning.provision_all(settings("nats://127.0.0.1:1", ""))
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/chat") as caught:
        await provisioning.provision_all(settings(nats.url, "mysql+asyncmy://user:secret@127.0.0.1:1/chat"))
    assert "secret" not in str(caught.value)


def test_a_setting_of_no_use_is_one_sentence_and_exit_code_1(nats: Server) -> None:
    """No trace, no password."""
    failed = provisioned(nats.url, "postgresql://user:secret@host/db")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("A database URL starts with sqlite+aiosqlite:// or mysql+asyncmy://")
    assert "secret" not in failed.stderr


async def test_a_database_that_is_none_is_told_in_a_sentence(
    nats: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path to something else, typed by mistake."""
    monkeypatch.setattr(provisioning, "WAIT_SECONDS", 0.3)
    (tmp_path / "x.db").mkdir()
    with pytest.raises(DatabaseUnavailable, match=r"x\.db cannot be used at the moment: unable to open database file"):
        await provisioning.provision_all(settings(nats.url, f"sqlite+aiosqlite:///{tmp_path / 'x.db'}"))
