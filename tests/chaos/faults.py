"""Carries out the schedule: every step its own task, so that a long freeze does not hold up what comes next."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tests.chaos.journal import Fault, Journal, Promise
from tests.chaos.part import STOP_SECONDS, Part
from tests.chaos.poison import Poison
from tests.chaos.schedule import ACTIONS, Step
from tests.chaos.tcp_proxy import Link
from tests.chaos.world import World
from tests.waiting import until

# A slowed link keeps every read back for so long.
DELAY_SECONDS = 0.15
BACK_SECONDS = 60.0
# Longer than any freeze, and the time to come back.
BUSY_SECONDS = 90.0
# What is done to no process or link of its own has one name, so that it is not done twice at a time.
TARGETS = {"lock": "databases", "poison": "a poison request", "roll": "everything"}
# In the order of an upgrade. What they stand on (database, Valkey, model) is not ours to upgrade.
ROLLED = ("nats", "task_service", "chat_worker", "monitor_agent", "gateway")
# The leader of a NATS cluster is what hurts most.
LEADER_SHARE = 0.5


class Faults:
    """One target has one fault at a time; a step whose targets are all busy is left out."""

    def __init__(self, world: World, journal: Journal, poison: Poison) -> None:
        self._world = world
        self._journal = journal
        self._poison = poison
        self._busy: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._actions: dict[str, Callable[[Part, float, Fault], Awaitable[None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "restart": self._restart,
            "wipe": self._wipe,
            "away": self._kill,
        }

    def kinds(self) -> dict[str, set[str]]:
        """What exists in this world, and what can be done to it."""
        kinds = {part.kind for part in self._world.parts.values()} | {"database", "request", "everything"}
        kinds |= {link.kind for link in self._world.links.values()}
        possible = {kind: set(ACTIONS[kind]) for kind in kinds & ACTIONS.keys()}
        if not self._world.databases.parts:
            possible["database"] -= {"kill", "freeze"}
        if len(self._world.nats.parts) > 1:
            # One server of a cluster gets back from the others what it has lost.
            possible["nats"] -= {"wipe"}
        return possible

    async def run(self, steps: list[Step], *, since: float) -> None:
        """Until the last step has begun and every fault is undone. `since`: when the clients began."""
        try:
            for step in steps:
                await asyncio.sleep(max(0.0, since + step.at - self._journal.now()))
                task = asyncio.create_task(self._carry_out(step), name=f"{step.action} {step.kind}")
                self._running.add(task)
                task.add_done_callback(self._ended)
            while self._running:
                await asyncio.wait(self._running)
        finally:
            for task in self._running:
                task.cancel()

    def active(self) -> list[str]:
        return sorted(self._busy)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._journal.note(f"a fault could not be carried out: {error!r}")
            self._journal.count("faults that went wrong")

    async def _carry_out(self, step: Step) -> None:
        target = await self._target(step)
        if target is None:
            self._journal.count("faults left out: target busy")
            return
        self._busy.add(target)
        fault = self._journal.fault(step.kind, target, step.action)
        try:
            if step.action == "lock":
                await self._world.databases.lock(step.seconds)
            elif step.action == "poison":
                await self._poison.ask()
            elif step.action == "roll":
                await self._roll()
            elif step.action == "empty":
                await self._empty(fault)
            elif target in self._world.links:
                await self._hinder(self._world.links[target], step, fault)
            else:
                await self._actions[step.action](self._world.parts[target], step.seconds, fault)
        finally:
            self._busy.discard(target)
            self._journal.over(fault)

    async def _target(self, step: Step) -> str | None:
        if (name := TARGETS.get(step.action)) is not None:
            return None if name in self._busy else name
        if step.kind == "nats" and len(self._world.nats.parts) > 1:
            # More than one away, and the cluster is away: that is what the single server is for.
            if any(part.name in self._busy for part in self._world.nats.parts):
                return None
            if step.draw < LEADER_SHARE and (leader := await self._world.nats.leader()) is not None:
                return leader.name
        owners: list[Part | Link] = [*self._world.parts.values(), *self._world.links.values()]
        free = [one.name for one in owners if one.kind == step.kind and one.name not in self._busy]
        return free[int(step.draw * len(free))] if free else None

    async def _kill(self, part: Part, seconds: float, fault: Fault) -> None:
        part.kill()
        await asyncio.sleep(seconds)
        self._journal.lifted(fault)
        part.start()
        await self._back(part)

    async def _freeze(self, part: Part, seconds: float, fault: Fault) -> None:
        part.freeze()
        await asyncio.sleep(seconds)
        self._journal.lifted(fault)
        part.thaw()

    async def _restart(self, part: Part, _: float, fault: Fault) -> None:
        code = await part.stop()
        if code != 0:
            self._journal.count(f"SIGTERM ended with {code}: {part.kind}")
            self._journal.note(f"{part.name} ended with {code} after SIGTERM", about=part.name)
            now, near = self._journal.now(), {part.name, f"{part.name}=nats", f"clients={part.name}"}
            if not self._journal.hit(now - STOP_SECONDS, now, kinds={"nats", "database"}, targets=near, but=fault):
                text = f"{part.name} ended with {code} after SIGTERM, and nothing else was wrong"
                self._journal.broken(Promise.DRAIN, text, about=part.name, since=fault.at)
        self._journal.lifted(fault)
        part.start()
        await self._back(part)

    async def _roll(self) -> None:
        """The next one goes only when this one is ready again; what has a fault of its own is waited for."""
        for part in [part for kind in ROLLED for part in self._world.of(kind)]:
            near = {one.name for one in self._world.nats.parts} if part.kind == "nats" else {part.name}
            await until(partial(near.isdisjoint, self._busy), seconds=BUSY_SECONDS)
            self._busy.add(part.name)
            fault = self._journal.fault(part.kind, part.name, "restart")
            try:
                await self._restart(part, 0, fault)
                await part.until_ready(BACK_SECONDS)
            finally:
                self._busy.discard(part.name)
                self._journal.over(fault)
        self._journal.count("times that everything was restarted in turn")

    async def _wipe(self, part: Part, _: float, fault: Fault) -> None:
        """Its disk is lost, with all that it held. A person runs the provisioning step, as docs/operations.md says."""
        part.kill()
        await self._world.nats.wipe(part)
        self._journal.lifted(fault)
        part.start()
        await part.until_ready(BACK_SECONDS)
        await self._world.provision()

    async def _empty(self, fault: Fault) -> None:
        if not await self._world.empty_valkey():
            self._journal.count("faults that went wrong")
        self._journal.lifted(fault)

    async def _back(self, part: Part) -> None:
        """The next server of a NATS cluster may only go when this one is current; what is ours may die as it starts."""
        if part.kind in ("nats", "database"):
            await part.until_ready(BACK_SECONDS)

    async def _hinder(self, link: Link, step: Step, fault: Fault) -> None:
        match step.action:
            case "cut":
                link.cut()
            case "freeze":
                link.freeze()
            case _:
                link.delay_seconds = DELAY_SECONDS
        await asyncio.sleep(step.seconds)
        self._journal.lifted(fault)
        link.mend()
