"""One run from top to bottom: what is started, what is measured in which order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from bench import parts, report
from bench.loads import chat
from bench.loads.chat import ChatLoad, Result
from bench.peers.direct import Direct
from bench.peers.monolith import Monolith
from bench.peers.peer import Peer
from bench.peers.system import Shape, System
from bench.readings import Reading
from libs.local_stack.ports import free_ports

CHATS = {"w1": chat.W1, "w2": chat.W2, "w3": chat.W3}
LOADS = (*CHATS, "w4")
# Between two rounds: what a peer still writes down must not count for the next.
REST_SECONDS = 1.0


class Wanted(NamedTuple):
    """`only`: of LOADS. `peers`: empty means all."""

    only: Sequence[str]
    peers: Sequence[str]
    database: str
    quick: bool
    rounds: int

    def with_peer(self, name: str) -> bool:
        return not self.peers or name in self.peers


class Bench:
    """What has been measured so far is there also when the run is stopped."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self.readings: list[Reading] = []
        self.faults: list[str] = []
        self._wanted = wanted
        self._folder = folder

    async def run(self) -> None:
        """Measures all that is wanted, and ends whatever it has started."""
        (port,) = free_ports(1)
        ready = f"http://127.0.0.1:{port}/v1/models"
        model = parts.python_module("model", "bench.model", ["--port", str(port)], ready=ready, folder=self._folder)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.stop, [model])
            await parts.start([model])
            chats = [load for name, load in CHATS.items() if name in self._wanted.only]
            if chats:
                await self._chats(chats, port)
            if "w4" in self._wanted.only:
                await self._sustained(port)

    async def _chats(self, loads: Sequence[ChatLoad], model_port: int) -> None:
        async with self._opened(self._peers(model_port)) as peers:
            for number in range(1, self._wanted.rounds + 1):
                for load in loads:
                    for peer in peers:
                        await self._chat(load, peer, f"round {number} of {self._wanted.rounds}, ")

    async def _sustained(self, model_port: int) -> None:
        load = chat.W4_QUICK if self._wanted.quick else chat.W4
        for name, shape in (("ours", 1), ("ours 2+2", 2)):
            system = System(name, self._folder / name, model_port, Shape(self._wanted.database, shape, shape))
            async with self._opened([system]):
                await self._chat(load, system)

    async def _chat(self, load: ChatLoad, peer: Peer, which: str = "") -> None:
        await asyncio.sleep(REST_SECONDS)
        self._keep(await chat.run(load, peer), f"{which}{load.name}, {peer.name}")

    def _keep(self, result: Result, what: str) -> None:
        self.readings += result.readings
        self.faults += result.faults
        values = "  ".join(
            f"{reading.metric} {report.number(reading.value)}"
            for reading in result.readings
            if not reading.metric.startswith("…")
        )
        report.say(f"{what}: {values}")

    def _peers(self, model_port: int) -> list[Peer]:
        wanted = self._wanted
        peers: list[Peer] = []
        if wanted.with_peer("ours"):
            peers.append(System("ours", self._folder / "ours", model_port, Shape(wanted.database)))
        if wanted.with_peer("direct"):
            peers.append(Direct(model_port))
        if wanted.with_peer("monolith"):
            peers.append(Monolith(self._folder, model_port))
        return peers

    @asynccontextmanager
    async def _opened(self, peers: Sequence[Peer]) -> AsyncIterator[Sequence[Peer]]:
        async with AsyncExitStack() as stack:
            for peer in peers:
                stack.push_async_callback(peer.close)
                report.say(f"starting {peer.name} …")
                await peer.open()
            yield peers
