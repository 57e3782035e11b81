"""The real processes on loopback ports, with a data folder of their own. No launcher: the schedule decides what runs.

clients ══ link ══▶ gateways ══ link ══▶ NATS ◀══ link ══ chat workers ══ link ══▶ scripted model
                                          ▲        task services, monitor agent (links to NATS too)
                        MariaDB or SQLite ◀┘
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx

from libs.local_stack.ports import free_ports
from tests.chaos import servers
from tests.chaos.databases import Databases, MariaDb, SqliteFiles
from tests.chaos.journal import Journal
from tests.chaos.part import Part
from tests.chaos.tcp_proxy import Link

TASK_SERVICES = 2
# The load is more in a minute than a person would ask.
GENEROUS = {"GATEWAY_REQUESTS_PER_MINUTE": "600000", "GATEWAY_BURST": "100000", "GATEWAY_DRAIN_SECONDS": "1"}
# Longer than the model is ever frozen, shorter than the run is given to settle.
PATIENT = {
    "CHAT_WORKER_FIRST_BYTE_SECONDS": "25",
    "CHAT_WORKER_IDLE_SECONDS": "25",
    "CHAT_WORKER_GRACE_SECONDS": "2",
}
METRICS_SECONDS = 2
REVIVE_SECONDS = 1.0
WEIGH_SECONDS = 1.0


class Shape(NamedTuple):
    """How large the world is."""

    database: str
    nats: int
    gateways: int
    workers: int
    fallback: bool
    """Whether the workers have a second model server."""


class World:
    """All parts and links. `open` makes everything run; `close` ends all of it."""

    def __init__(self, folder: Path, shape: Shape, journal: Journal) -> None:
        self.folder = folder
        self.parts: dict[str, Part] = {}
        self.links: dict[str, Link] = {}
        self.sockets: dict[str, str] = {}
        """Gateway → where clients reach it, through its link."""
        self.probes: dict[str, str] = {}
        """Service → where its own pages are, without a link."""
        self._shape = shape
        self._journal = journal
        self._ports = iter(free_ports(64))
        self.databases: Databases = (
            SqliteFiles(folder) if shape.database == "sqlite" else MariaDb(folder, next(self._ports))
        )
        self.nats = servers.NatsServers(folder, *([self._port() for _ in range(shape.nats)] for _ in range(3)))
        self._valkey_port = self._port()
        self._model_ports = {name: self._port() for name in (("model", "fallback") if shape.fallback else ("model",))}

    def _port(self) -> int:
        return next(self._ports)

    async def open(self) -> None:
        """Starts everything in order. Raises `TimeoutError` or `RuntimeError` if something does not start."""
        # Known at once, so that `close` finds whatever has been started.
        self._add(*self.databases.parts)
        await self.databases.prepare()
        self._add(*self.nats.parts, servers.valkey(self.folder, self._valkey_port))
        for name, port in self._model_ports.items():
            self._add(servers.model(name, self.folder, port))
        await self._start([part for part in self.parts.values() if not part.running])
        await self.provision()
        for number in range(1, self._shape.workers + 1):
            await self._add_worker(f"chat_worker-{number}")
        for number in range(1, TASK_SERVICES + 1):
            await self._add_service("task_service", f"task_service-{number}", {})
        await self._add_service("monitor_agent", "monitor_agent-1", {"MONITOR_AGENT_HOST_NAME": "chaos"})
        for number in range(1, self._shape.gateways + 1):
            await self._add_gateway(f"gateway-{number}")
        await self._start([part for part in self.parts.values() if not part.running])

    async def close(self) -> None:
        """Ends every process by its own pid, however things stand."""
        for part in self.parts.values():
            with suppress(ProcessLookupError):
                part.thaw()
        services = [part for part in self.parts.values() if part.name in self.probes]
        await asyncio.gather(*(part.stop(5) for part in services), return_exceptions=True)
        for part in self.parts.values():
            part.kill()
        for link in self.links.values():
            await link.close()

    def of(self, kind: str) -> list[Part]:
        return [part for part in self.parts.values() if part.kind == kind]

    def services(self) -> Iterator[Part]:
        """Our own processes."""
        return (part for part in self.parts.values() if part.name in self.probes)

    async def supervise(self) -> None:
        """Starts again what has ended by itself, as every launcher does, and weighs what runs."""
        while True:
            await asyncio.sleep(min(REVIVE_SECONDS, WEIGH_SECONDS))
            for part in self.parts.values():
                part.weigh()
                if part.wanted and part.exit_code is not None:
                    self._journal.note(f"{part.name} ended by itself with {part.exit_code}", about=part.name)
                    self._journal.count(f"ended by itself: {part.kind} with {part.exit_code}")
                    part.start()

    @asynccontextmanager
    async def own_link(self, gateway: str) -> AsyncIterator[tuple[Link, str]]:
        """A link to this gateway for one client alone, which no schedule touches, and its address."""
        link = Link(f"one client={gateway}", "own")
        proxy = await link.open(0, int(self.probes[gateway].rpartition(":")[2]))
        try:
            yield link, f"ws://127.0.0.1:{proxy.port}/ws"
        finally:
            await link.close()

    async def metrics(self, service: str) -> dict[str, float] | None:
        """What a service counts, by name and labels; None: it does not answer."""
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                text = (await http.get(f"{self.probes[service]}/metrics", timeout=METRICS_SECONDS)).text
        except httpx.HTTPError:
            return None
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def empty_valkey(self) -> bool:
        """Everything that it holds is gone; False: it did not say so."""
        return await servers.greets(self._valkey_port, b"FLUSHALL\r\n", b"OK")()

    async def mend(self) -> None:
        """Undoes every fault and waits until everything is ready. Raises `TimeoutError` if something is not."""
        for link in self.links.values():
            link.mend()
        for part in self.parts.values():
            part.thaw()
            if not part.running:
                part.start()
        await asyncio.gather(*(part.until_ready() for part in self.parts.values()))

    # ---- Putting it together ------------------------------------------------------------------------------------

    def _add(self, *parts: Part) -> None:
        self.parts.update({part.name: part for part in parts})

    async def _start(self, parts: list[Part]) -> None:
        for part in parts:
            part.start()
        await asyncio.gather(*(part.until_ready(revived=False) for part in parts))

    async def _link(self, name: str, kind: str, ports: list[int]) -> Link:
        link = self.links[name] = Link(name, kind)
        for port in ports:
            await link.open(self._port(), port)
        return link

    async def _add_service(self, kind: str, name: str, env: Mapping[str, str]) -> int:
        """A service with a link of its own to every NATS server → its port."""
        bus = await self._link(f"{name}=nats", "bus_link", list(self.nats.ports))
        port = self._port()
        prefix = kind.upper()
        full = {
            **servers.inherited(),
            "NATS_URL": ",".join(f"nats://127.0.0.1:{proxy.port}" for proxy in bus.proxies),
            "VALKEY_URL": f"redis://127.0.0.1:{self._valkey_port}/0",
            "LOG_FORMAT": "json",
            f"{prefix}_HOST": "127.0.0.1",
            f"{prefix}_PORT": str(port),
            **({f"{prefix}_DATABASE_URL": self.databases.urls[kind]} if kind in self.databases.urls else {}),
            **env,
        }
        self.probes[name] = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", f"services.{kind}.main"]
        ready = servers.answers(f"{self.probes[name]}/readyz")
        self._add(Part(name, kind, command, env=full, folder=self.folder, ready=ready))
        return port

    async def _add_worker(self, name: str) -> None:
        urls = {}
        for server, port in self._model_ports.items():
            link = await self._link(f"{name}={server}", "model_link", [port])
            urls[server] = f"http://127.0.0.1:{link.proxies[0].port}/v1"
        models = {"LM_STUDIO_URL": urls["model"], "LM_STUDIO_FALLBACK_URL": urls.get("fallback", "")}
        await self._add_service("chat_worker", name, {**models, **PATIENT})

    async def _add_gateway(self, name: str) -> None:
        port = await self._add_service("gateway", name, GENEROUS)
        link = await self._link(f"clients={name}", "client_link", [port])
        self.sockets[name] = f"ws://127.0.0.1:{link.proxies[0].port}/ws"

    async def provision(self) -> None:
        """As a person does it. Raises `RuntimeError`."""
        addresses = ",".join(f"nats://127.0.0.1:{port}" for port in self.nats.ports)
        await servers.provision(addresses, self.databases.urls, replicas=self._shape.nats)
