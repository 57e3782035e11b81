"""What the services stand on, as commands for parts: NATS (one, or a cluster of three), Valkey, the scripted model.

And the provisioning step, which gives them what the services expect there.
"""

import asyncio
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from libs.local_stack import broker, cache
from tests.chaos.part import Part, Ready
from tests.processes import ROOT

# Listed by the scripted model beside its own names: tokens and tokens per second.
PACED = ("unique-40-20", "unique-100-25", "unique-200-50", "unique-300-100", "tokens-2500")
LOOK_SECONDS = 1.0
PROVISION_SECONDS = 90

# `no_advertise`: clients must not learn of ways round the links. The rest as in libs.local_stack.broker.
NATS = """\
server_name: {name}
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"
max_payload: 1MB
jetstream {{ store_dir: {store}, sync_interval: always }}
feature_flags {{ js_ack_fc_v2: false }}
"""
CLUSTER = """\
cluster {{ name: chaos, listen: "127.0.0.1:{own}", no_advertise: true, routes: [{routes}] }}
"""


def inherited() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 (children need PATH and the like)


async def provision(nats_url: str, databases: Mapping[str, str], *, replicas: int) -> None:
    """As a person does it: the project's own step. `databases`: service → address. Raises `RuntimeError`."""
    urls = {f"{service.upper()}_DATABASE_URL": url for service, url in databases.items()}
    provisioning = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "libs.provisioning", cwd=ROOT,
        env={**inherited(), "NATS_URL": nats_url, "NATS_REPLICAS": str(replicas), **urls},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(PROVISION_SECONDS):
        told, _ = await provisioning.communicate()
    if provisioning.returncode != 0:
        raise RuntimeError(f"provisioning failed:\n{told.decode()}")


def answers(url: str) -> Ready:
    """Ready when this page answers with 200."""

    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(url, timeout=LOOK_SECONDS)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def greets(port: int, said: bytes = b"", expected: bytes = b"") -> Ready:
    """Ready when who listens there says something with `expected` in it, after it was told `said`."""

    async def ready() -> bool:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(said)
                first = await reader.read(4096)
                writer.close()
        except (OSError, TimeoutError):
            return False
        return bool(first) and expected in first

    return ready


class NatsServers:
    """The servers of one cluster, or the only one."""

    def __init__(self, folder: Path, ports: Sequence[int], monitors: Sequence[int], routes: Sequence[int]) -> None:
        self.ports = ports
        self._folder = folder
        self._monitors = monitors
        self.parts = [self._part(number, routes) for number in range(len(ports))]

    def _part(self, number: int, routes: Sequence[int]) -> Part:
        name, folder = f"nats-{number + 1}", self._folder
        text = NATS.format(
            name=name, port=self.ports[number], monitor=self._monitors[number], store=json.dumps(str(folder / name))
        )
        if len(self.ports) > 1:
            others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            text += CLUSTER.format(own=routes[number], routes=others)
        configuration = folder / f"{name}.conf"
        configuration.write_text(text)
        command = [str(Path(sysconfig.get_path("scripts")) / "nats-server"), "--config", str(configuration)]
        # In a cluster, healthy means that its part of every stream is current.
        ready = answers(f"http://127.0.0.1:{self._monitors[number]}/healthz")
        return Part(name, "nats", command, env=broker.ENVIRONMENT, folder=folder, ready=ready)

    async def wipe(self, part: Part) -> None:
        """Its store is gone; it must not run."""
        await asyncio.to_thread(shutil.rmtree, self._folder / part.name)

    async def leader(self) -> Part | None:
        """The server that leads the stream of chat requests; None: nobody says."""
        async with httpx.AsyncClient(trust_env=False) as http:
            for port, part in zip(self._monitors, self.parts, strict=True):
                if not part.running or part.frozen:
                    continue
                try:
                    told = await http.get(f"http://127.0.0.1:{port}/jsz?streams=true", timeout=LOOK_SECONDS)
                except httpx.HTTPError:
                    continue
                for account in told.json().get("account_details", []):
                    for stream in account.get("stream_detail", []):
                        leader = stream.get("cluster", {}).get("leader")
                        if stream["name"] == "CHAT" and leader:
                            return next((one for one in self.parts if one.name == leader), None)
        return None


def valkey(folder: Path, port: int) -> Part:
    command = [str(cache.binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    ready = greets(port, b"PING\r\n", b"PONG")
    return Part("valkey", "valkey", command, env={}, folder=folder, ready=ready)


def model(name: str, folder: Path, port: int) -> Part:
    """Also the kind is `name`: the fallback is never away."""
    command = [sys.executable, "-m", "tests.scripted_model", "--port", str(port), "--also", ",".join(PACED)]
    ready = answers(f"http://127.0.0.1:{port}/v1/models")
    return Part(name, name, command, env=inherited(), folder=folder, ready=ready)
