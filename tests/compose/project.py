"""One run of docker-compose.yml under a name and a port of its own, so that it meets no other on this machine."""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.architecture.source import services
from tests.processes import ROOT

BUILT = [*services(), "provisioning", "model"]
# From nothing in the engine to all images: mostly pip, and as slow as the network.
BUILD_SECONDS = 900
UP_SECONDS = 180
STOP_SECONDS = 90


class Container(msgspec.Struct, frozen=True, rename="pascal"):
    """One line of `docker compose ps`."""

    id: str = msgspec.field(name="ID")
    service: str
    state: str
    health: str
    exit_code: int


class Project:
    """`docker compose`, with what makes this run its own."""

    def __init__(self, folder: Path, build_network: str) -> None:
        self.name = f"orquestrador-trial-{secrets.token_hex(3)}"
        variables = folder / "variables"
        # Nobody's LM Studio may answer in place of the built-in model: port 9 is the one where nobody listens.
        variables.write_text("GATEWAY_PORT=0\nLM_STUDIO_URL=http://host.docker.internal:9/v1\n")
        override = folder / "override.json"
        build = {"build": {"network": build_network}}
        override.write_text(json.dumps({"services": dict.fromkeys(BUILT, build)}))
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(override)]
        self._command = ["docker", "compose", "--project-name", self.name, "--env-file", str(variables), *files]

    def run(self, *arguments: str, seconds: float = 60) -> str:
        """What it prints. Shows the command with the time it took; fails with what it printed."""
        started = time.monotonic()
        done = subprocess.run(
            [*self._command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        took = time.monotonic() - started
        print(f"\n{took:6.1f} s  docker compose {' '.join(arguments)}", end="", flush=True)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{self._told()}"
        return done.stdout

    def up(self, *arguments: str) -> None:
        self.run("up", "-d", "--wait", *arguments, seconds=UP_SECONDS)

    def containers(self) -> list[Container]:
        """All there are, also those that have ended."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return [msgspec.json.decode(line, type=Container) for line in lines]

    def of(self, service: str) -> list[Container]:
        return [container for container in self.containers() if container.service == service]

    def gateway(self) -> str:
        """Where clients connect."""
        return f"ws://{self.run('port', 'gateway', '3001').strip()}/ws"

    def image_sizes(self) -> dict[str, int]:
        """Bytes of each image that the Dockerfile makes."""
        images: list[dict[str, Any]] = json.loads(self.run("images", "--format", "json"))
        sizes = {str(image["Repository"]).removeprefix(f"{self.name}-"): int(image["Size"]) for image in images}
        return {service: size for service, size in sizes.items() if service in BUILT}

    def _told(self) -> str:
        told = subprocess.run(
            [*self._command, "logs", "--tail", "20"], capture_output=True, text=True, timeout=30, check=False
        )
        return told.stdout[-8000:]


@contextmanager
def built_project(folder: Path, build_network: str) -> Iterator[Project]:
    """Its images are built; nothing runs. At the end nothing of it is left but the engine's build cache."""
    project = Project(folder, build_network)
    try:
        project.run("build", "--quiet", seconds=BUILD_SECONDS)
        yield project
    finally:
        project.run("down", "--volumes", "--rmi", "local", "--remove-orphans", seconds=STOP_SECONDS)
