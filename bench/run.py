"""One run from top to bottom: what is started, what is measured in which order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from bench import parts, report
from bench.loads import chat, following, idle, resuming, starting
from bench.loads.chat import ChatLoad
from bench.peers.direct import Direct
from bench.peers.litellm import LiteLlm
from bench.peers.monolith import Monolith
from bench.peers.nats_websocket import NatsWebSocket
from bench.peers.peer import Peer, PeerMissing
from bench.peers.relay import Relay
from bench.peers.system import Shape, System
from bench.readings import Reading, Result
from libs.local_stack.ports import free_ports

CHATS = {"w1": chat.W1, "w2": chat.W2, "w3": chat.W3}
LOADS = (*CHATS, "w4", "fan-out", "task", "resume", "idle", "start")
PEERS = ("ours", "direct", "relay", "monolith", "litellm", "nats")
# Between two rounds: what a peer still writes down must not count for the next.
REST_SECONDS = 1.0
# A machine that has other things to do would take for ever.
LIMIT_SECONDS = 14 * 60.0
# No round begins after this; one takes about 120 s, and everything that follows about 7 minutes.
ROUNDS_SECONDS = 280.0
# Fan-outs of each peer before it is the other's turn.
FAN_OUTS = 5


class Wanted(NamedTuple):
    """`only`: of LOADS. `peers`: of PEERS."""

    only: Sequence[str]
    peers: Sequence[str]
    database: str
    quick: bool
    rounds: int


class _Opened(Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Bench:
    """What has been measured so far is there also when the run is stopped."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self.readings: list[Reading] = []
        self.faults: list[str] = []
        self._wanted = wanted
        self._folder = folder
        self._systems = 0

    async def run(self) -> None:
        """Measures all that is wanted within the limit, and ends whatever it has started."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS) as limit:
                await self._run()
        except TimeoutError:
            if not limit.expired():
                raise
            report.say(f"stopped after {LIMIT_SECONDS / 60:g} minutes: this machine is too slow, or too busy")

    async def _run(self) -> None:
        (port,) = free_ports(1)
        ready = f"http://127.0.0.1:{port}/v1/models"
        model = parts.python_module("model", "bench.model", ["--port", str(port)], ready=ready, folder=self._folder)
        only = self._wanted.only
        try:
            await parts.start([model])
            if chats := [load for name, load in CHATS.items() if name in only]:
                await self._chats(chats, port)
            if "w4" in only:
                await self._sustained(port)
            if "fan-out" in only:
                await self._fan_out(port)
            if "task" in only or "resume" in only:
                await self._alone(port)
            if "idle" in only:
                async with self._opened(system := self._system("ours", port)):
                    self._keep(await idle.run(system, idle.QUICK if self._wanted.quick else idle.FULL))
            if "start" in only:
                starts = 1 if self._wanted.quick else 3
                self._keep(await starting.run(self._folder, port, starts=starts))
        finally:
            await parts.stop([model])

    # ---- Chats --------------------------------------------------------------------------------------------------

    async def _chats(self, loads: Sequence[ChatLoad], port: int) -> None:
        async with AsyncExitStack() as stack:
            peers = [peer for peer in self._peers(port) if await self._enter(stack, peer)]
            enough = asyncio.get_running_loop().time() + ROUNDS_SECONDS
            for number in range(1, self._wanted.rounds + 1):
                if asyncio.get_running_loop().time() > enough:
                    report.say("no more rounds: it would take too long")
                    break
                for load in loads:
                    for peer in peers:
                        await self._chat(load, peer, f"round {number} of {self._wanted.rounds}, ")

    def _peers(self, port: int) -> list[Peer]:
        wanted = self._wanted.peers
        peers: list[Peer] = []
        if "ours" in wanted:
            peers.append(self._system("ours", port))
        if "direct" in wanted:
            peers.append(Direct(port))
        if "relay" in wanted:
            peers.append(Relay(self._folder, port))
        if "monolith" in wanted:
            peers.append(Monolith(self._folder, port))
        if "litellm" in wanted:
            peers.append(LiteLlm(self._folder, port))
        return peers

    async def _sustained(self, port: int) -> None:
        load = chat.W4_QUICK if self._wanted.quick else chat.W4
        if "direct" in self._wanted.peers:
            await self._chat(load, Direct(port))
        for name, many in (("ours", 1), ("ours 2+2", 2)):
            async with self._opened(system := self._system(name, port, many)):
                await self._chat(load, system)

    async def _chat(self, load: ChatLoad, peer: Peer, which: str = "") -> None:
        await asyncio.sleep(REST_SECONDS)
        self._keep(await chat.run(load, peer), which)

    # ---- Everything else ----------------------------------------------------------------------------------------

    async def _fan_out(self, port: int) -> None:
        blocks, seconds = (1, 2.0) if self._wanted.quick else (2, 5.0)
        system, nats = self._system("ours", port), NatsWebSocket(self._folder)
        async with self._opened(system), self._opened(nats):
            for _ in range(blocks):
                self._keep(await following.run(system, rounds=FAN_OUTS, steady_seconds=seconds))
                if "nats" in self._wanted.peers:
                    self._keep(await nats.fan_out(rounds=FAN_OUTS, steady_seconds=seconds))

    async def _alone(self, port: int) -> None:
        """One client: how late a task's change is, and the text that was missed."""
        wanted = self._wanted
        async with self._opened(system := self._system("ours", port)):
            if "task" in wanted.only:
                self._keep(await following.change_latency(system, 100 if wanted.quick else 300))
            if "resume" in wanted.only:
                times = 30 if wanted.quick else 100
                self._keep(await resuming.run("resume idle: nothing else", system, times=times))
                crowd = asyncio.create_task(chat.run(chat.W2, system))
                result = await resuming.run("resume under W2: 100 streams", system, times=times, until=crowd)
                self._keep(result)
                self._keep(Result([], (await crowd).faults))

    def _system(self, name: str, port: int, many: int = 1) -> System:
        self._systems += 1
        folder = self._folder / f"system-{self._systems}"
        return System(name, folder, port, Shape(self._wanted.database, many, many))

    def _keep(self, result: Result, which: str = "") -> None:
        """A fault of somebody else is told, and is none of ours."""
        self.readings += result.readings
        for line in report.told(result.readings):
            report.say(f"{which}{line}")
        for fault in result.faults:
            report.say(f"✗ {fault}")
            if fault.startswith(report.OURS):
                self.faults.append(fault)

    @asynccontextmanager
    async def _opened(self, opened: _Opened) -> AsyncIterator[None]:
        try:
            await opened.open()
            yield
        finally:
            await opened.close()

    async def _enter(self, stack: AsyncExitStack, peer: Peer) -> bool:
        """Whether it runs; one that cannot be had is left out."""
        stack.push_async_callback(peer.close)
        report.say(f"starting {peer.name} …")
        try:
            await peer.open()
        except PeerMissing as error:
            report.say(f"without {peer.name}: {error}")
            return False
        return True
