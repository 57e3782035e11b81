"""The health of machines from one end to the other: real agents, a real gateway, and what clients see."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from libs.client.connection import Client, ClientError
from tests.processes import service
from tests.system.stack import RunningStack
from tests.waiting import until_answer


async def sample(client: Client, host: str) -> dict[str, Any]:
    """The next one of this host."""
    async with asyncio.timeout(20):
        while True:
            frame = await client.pushed.get()
            if frame["type"] == "metrics" and frame["data"]["host"] == host:
                data: dict[str, Any] = frame["data"]
                return data


@contextmanager
def second_agent(stack: RunningStack, log: Path) -> Iterator[None]:
    environ = psutil.Process(stack.entries()["monitor_agent"]["pid"]).environ()
    bus = {name: environ[name] for name in ("NATS_URL", "VALKEY_URL", "LM_STUDIO_URL")}
    with service("monitor_agent", bus | {"MONITOR_AGENT_HOST_NAME": "second.example"}, log):
        yield


async def test_two_agents_on_one_machine_are_two_hosts(stack: RunningStack, client: Client, tmp_path: Path) -> None:
    """The second one is seen by who already watches."""
    await client.ask("monitoring:subscribe", {"intervalSeconds": 1})
    with second_agent(stack, tmp_path / "log"):
        second = await sample(client, "second.example")
        own = next(host for host in await hosts(client) if host != "second.example")
        assert (await sample(client, own))["memory"]["total"] == second["memory"]["total"]
    with pytest.raises(ClientError, match="needs a host"):
        await client.ask("monitoring:history")
    assert (await client.ask("monitoring:history", {"host": own}))["data"]["points"]


@pytest.mark.thorough
async def test_a_machine_whose_agent_has_ended_is_said_to_be_silent(
    stack: RunningStack, client: Client, tmp_path: Path
) -> None:
    """To who watches it, and to who asks."""
    await client.ask("monitoring:subscribe", {"intervalSeconds": 1})
    with second_agent(stack, tmp_path / "log"):
        # Until it has heard that somebody watches: the next sample is then promised within a second.
        while (await sample(client, "second.example"))["intervalSeconds"] > 1:
            pass
    async with asyncio.timeout(15):
        while (frame := await client.pushed.get())["type"] != "monitoring:host":
            pass
    assert frame["data"] | {"lastSampleAt": "", "intervalSeconds": 1} == {
        "host": "second.example",
        "status": "stale",
        "lastSampleAt": "",
        "intervalSeconds": 1,
    }
    assert (await hosts(client))["second.example"] == "stale"


async def test_samples_are_never_about_the_arguments_of_programs(stack: RunningStack, client: Client) -> None:
    """Names and pids only: arguments can hold secrets."""
    await client.ask("monitoring:subscribe", {"intervalSeconds": 1})
    frame = await asyncio.wait_for(client.pushed.get(), 15)
    assert "--data" not in json.dumps(frame)
    assert all(set(one) == {"pid", "name", "cpuUsage", "memory"} for one in frame["data"]["processes"]["top"])


async def hosts(client: Client) -> dict[str, str]:
    found = (await client.ask("monitoring:hosts"))["data"]["hosts"]
    return {host["host"]: host["status"] for host in found}


async def test_every_process_tells_its_readiness_and_metrics(stack: RunningStack) -> None:
    """All four kinds, in the same way."""
    for name in ("gateway-1", "gateway-2", "chat_worker-1", "monitor_agent", "task_service"):
        await until_answer(lambda name=name: asyncio.to_thread(stack.is_ready, name))  # type: ignore[misc]
        assert (await asyncio.to_thread(stack.probe, name, "/healthz")).status_code == httpx.codes.OK
        assert "event_loop_tasks" in (await asyncio.to_thread(stack.probe, name, "/metrics")).text
