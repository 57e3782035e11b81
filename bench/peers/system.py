"""This system, whole: NATS, Valkey, a database, a task service, and as many gateways and chat workers as wanted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import parts
from bench.answers import WebSocketAnswer
from libs.local_stack.ports import free_ports
from tests.chaos import servers
from tests.chaos.databases import Databases, MariaDb, SqliteFiles
from tests.chaos.part import Part

# The load is more in a minute than a person would ask; everything else is as it comes.
GENEROUS = {
    "GATEWAY_REQUESTS_PER_MINUTE": "600000",
    "GATEWAY_BURST": "100000",
    "GATEWAY_DRAIN_SECONDS": "0",
    "CHAT_WORKER_SLOTS": "400",
    "CHAT_WORKER_GRACE_SECONDS": "1",
}


class Shape(NamedTuple):
    """How large the system is."""

    database: str = "sqlite"
    gateways: int = 1
    workers: int = 1


class System:
    """`gateways`: their ports, for loads that are not chats."""

    def __init__(self, name: str, folder: Path, model_port: int, shape: Shape) -> None:
        self.name = name
        folder.mkdir()
        self._folder = folder
        self._ports = iter(free_ports(16))
        self._model_url = f"http://127.0.0.1:{model_port}/v1"
        self._shape = shape
        self.databases: Databases = (
            SqliteFiles(folder) if shape.database == "sqlite" else MariaDb(folder, next(self._ports), durable=True)
        )
        nats, monitor = next(self._ports), next(self._ports)
        self.nats_url = f"nats://127.0.0.1:{nats}"
        self.gateways: list[int] = []
        self._servers = [
            *self.databases.parts,
            *servers.NatsServers(folder, [nats], [monitor], []).parts,
            servers.valkey(folder, valkey := next(self._ports)),
        ]
        self._valkey_url = f"redis://127.0.0.1:{valkey}/0"
        self._services: list[Part] = []

    @property
    def parts(self) -> Sequence[Part]:
        return [*self._servers, *self._services]

    async def open(self) -> None:
        await self.databases.prepare()
        await parts.start(self._servers)
        await servers.provision(self.nats_url, self.databases.urls, replicas=1)
        self._services = [self._service("task_service", 1)]
        self._services += [self._service("chat_worker", number + 1) for number in range(self._shape.workers)]
        self._services += [self._service("gateway", number + 1) for number in range(self._shape.gateways)]
        await parts.start(self._services)

    async def close(self) -> None:
        await parts.stop(self.parts)

    def answer(self, number: int) -> WebSocketAnswer:
        return WebSocketAnswer(self.gateways[number % len(self.gateways)], told_when_stored=True)

    def part(self, kind: str) -> Part:
        """The first of its kind."""
        return next(part for part in self.parts if part.kind == kind)

    def _service(self, kind: str, number: int) -> Part:
        port = next(self._ports)
        if kind == "gateway":
            self.gateways.append(port)
        env = {"NATS_URL": self.nats_url, "VALKEY_URL": self._valkey_url, "LM_STUDIO_URL": self._model_url, **GENEROUS}
        if kind in self.databases.urls:
            env[f"{kind.upper()}_DATABASE_URL"] = self.databases.urls[kind]
        return parts.service(kind, f"{kind}-{number}", port, env, self._folder)
