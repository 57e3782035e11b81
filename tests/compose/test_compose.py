"""docker-compose.yml from empty to healthy, used, killed, stopped, scaled, and started again with its history.

The tests are one story and run in this order (scripts/compose-trial); alone, each brings up what it needs.
"""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tests.architecture.source import services
from tests.clients import open_client
from tests.compose.project import BUILD_SECONDS, STOP_SECONDS, UP_SECONDS, Project
from tests.processes import ROOT
from tests.waiting import wait_until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(BUILD_SECONDS + UP_SECONDS + 120)]

LASTING = {*services(), "nats", "mariadb", "valkey", "model"}


def history(project: Project, conversation: int) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        async with open_client(project.gateway()) as client:
            frame = await client.ask("chat:history", {"conversationId": conversation})
            return list(frame["data"])

    return asyncio.run(ask())


def say(project: Project, message: str, conversation: int) -> str:
    """The whole answer of the model."""

    async def ask() -> str:
        async with open_client(project.gateway()) as client:
            frames = [frame async for frame in client.chat(message, conversationId=conversation)]
            return str(frames[-1]["data"]["content"])

    return asyncio.run(ask())


def test_from_empty_to_healthy(project: Project) -> None:
    """With nothing prepared; provisioning has run and ended."""
    project.up()
    containers = project.containers()
    assert {each.service for each in containers if each.health == "healthy"} == LASTING
    ended = [(each.service, each.exit_code) for each in containers if each.state == "exited"]
    assert ended == [("provisioning", 0)]
    for service, size in sorted(project.image_sizes().items()):
        print(f"\n{size / 1e6:8.0f} MB  image of {service}", end="")


def test_scripts_try_works_against_it(project: Project) -> None:
    """What a person does next; the built-in model answers since nobody does at LM_STUDIO_URL."""
    project.up()
    tried = subprocess.run(
        [sys.executable, "-m", "libs.client.trial", "--url", project.gateway()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    print(f"\n{tried.stdout}", end="")
    assert tried.returncode == 0, tried.stderr
    assert "by smollm2-135m-instruct" in tried.stdout


def test_only_the_gateway_can_be_reached_and_only_from_this_machine(project: Project) -> None:
    """There are no accounts yet."""
    project.up()
    form = "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}"
    published = [inspect(container.id, form) for container in project.containers()]
    assert [address for address in published if address] == ["127.0.0.1"]


def test_no_service_runs_as_root(project: Project) -> None:
    """Nor can it write into its image."""
    project.up()
    for service in services():
        tried = project.run("exec", "-T", service, "sh", "-c", "id -u; touch /app/libs/x 2>/dev/null || echo refused")
        assert tried.split() == ["10001", "refused"]


def test_the_monitor_agent_tells_of_the_host_by_its_name(project: Project) -> None:
    """And not of its container: its disks, its network, its processes."""
    project.up()
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    async def sample() -> dict[str, Any]:
        async with open_client(project.gateway()) as client:
            await client.ask("monitoring:subscribe")
            async with asyncio.timeout(30):
                while (frame := await client.pushed.get())["type"] != "metrics":
                    pass
        return dict(frame["data"])

    metrics = asyncio.run(sample())
    assert metrics["host"] == host
    assert "/" in [disk["mount"] for disk in metrics["disks"]]
    # The engine's own, which no container has.
    assert "docker0" in [interface["name"] for interface in metrics["network"]["interfaces"]]
    assert metrics["processes"]["count"] > len(LASTING)


@pytest.mark.parametrize("service", sorted(services()))
def test_a_killed_service_comes_back_healthy(project: Project, service: str) -> None:
    """Killed as by a crash: the engine must not think that a person stopped it."""
    project.up()
    [container] = project.of(service)
    [agent] = project.of("monitor_agent")
    pid = inspect(container.id, "{{.State.Pid}}")
    # The agent sees all processes and has the same user. Detached: an engine does not always tell how it ended in a
    # container that has ended with it.
    ask_engine("exec", "--detach", agent.id, "python", "-c", f"import os; os.kill({pid}, 9)")
    wait_until(lambda: inspect(container.id, "{{.RestartCount}} {{.State.Health.Status}}") == "1 healthy", seconds=60)


def inspect(container: str, form: str) -> str:
    return ask_engine("inspect", "--format", form, container)


def ask_engine(*arguments: str) -> str:
    command = ["docker", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def test_down_and_up_keep_the_history(project: Project) -> None:
    """The containers are gone in between; the volumes are not."""
    project.up()
    answer = say(project, "Say hello.", conversation=1)
    before = history(project, 1)
    assert [message["content"] for message in before[-2:]] == ["Say hello.", answer]
    project.run("down", seconds=STOP_SECONDS)
    assert project.containers() == []
    project.up()
    assert history(project, 1) == before


def test_two_workers_share_the_work(project: Project) -> None:
    """Nothing is bound to a name or a port of its own."""
    project.up("--scale", "chat_worker=2")
    assert [worker.health for worker in project.of("chat_worker")] == ["healthy", "healthy"]
    assert say(project, "Say hello again.", conversation=1)
    assert history(project, 1)[-2]["content"] == "Say hello again."


def test_stop_is_orderly_everywhere(project: Project) -> None:
    """SIGTERM arrives, and everybody ends by itself within the grace period."""
    project.up()
    project.run("stop", seconds=STOP_SECONDS)
    assert {(each.state, each.exit_code) for each in project.containers()} == {("exited", 0)}
    assert '"event": "stopping"' in project.run("logs", "gateway")
