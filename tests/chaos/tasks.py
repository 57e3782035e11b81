"""Clients that change tasks, over WebSockets and HTTP, and clients that follow them.

Changer ── the same request id until it is acknowledged ──▶ any gateway
Watcher ◀── task:update, one for every revision ── any gateway
"""

import asyncio
import random
from dataclasses import dataclass, field

import httpx

from tests.chaos.journal import Promise
from tests.chaos.room import Room
from tests.chaos.wire import Frame, Gone, Wire, Wires

ANSWER_SECONDS = 12.0
SILENCE_SECONDS = 20.0
RETRY_SECONDS = 0.5
CHANGE_SECONDS = (0.1, 0.8)
TASKS = 3


@dataclass
class Change:
    """One request to create or change a task."""

    request_id: str
    task_id: int | None
    acknowledged: int | None = None
    """The revision that the answer named."""


@dataclass
class TaskBoard:
    """What all task clients share: the tasks, what was asked, and what each watcher has seen."""

    changes: dict[str, Change] = field(default_factory=dict)
    tasks: list[int] = field(default_factory=list)
    seen: dict[str, dict[int, int]] = field(default_factory=dict)
    """Watcher → task → the highest revision that it has shown."""

    def newest(self, task_id: int) -> int:
        """The highest revision of this task that anybody was told of."""
        acknowledged = (change.acknowledged or 0 for change in self.changes.values() if change.task_id == task_id)
        return max(acknowledged, default=0)


class Changer:
    """Changes the tasks, one change after the other. `http`: through the HTTP routes instead of a WebSocket."""

    def __init__(self, room: Room, board: TaskBoard, name: str, seed: int, *, http: bool) -> None:
        self._room = room
        self._board = board
        self._name = name
        self._http = http
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
        self._wires = Wires(room.sockets, self._chance)
        self._count = 0

    async def create(self, count: int = TASKS) -> None:
        """The tasks that everybody then changes and follows."""
        for _ in range(count):
            state = await self._carried_out(self._change(None), {"title": "A task under chaos"})
            self._board.tasks.append(state["task"]["id"])

    async def run(self) -> None:
        async with self._wires.closed_at_last():
            while not self._room.ending.is_set():
                await self._change_something()

    async def _change_something(self) -> None:
        change = self._change(self._chance.choice(self._board.tasks))
        data: Frame = {"title": f"Changed by {change.request_id}"}
        if self._chance.random() < 0.3:
            data["progress"] = self._chance.randint(0, 100)
        await self._carried_out(change, data)
        await asyncio.sleep(self._chance.uniform(*CHANGE_SECONDS))

    def _change(self, task_id: int | None) -> Change:
        self._count += 1
        change = Change(f"{self._name}-{self._count}", task_id)
        self._board.changes[change.request_id] = change
        return change

    async def _carried_out(self, change: Change, data: Frame) -> Frame:
        """Asks until it is acknowledged. The task's state."""
        began = self._room.journal.now()
        while True:
            self._room.journal.count("task changes sent")
            try:
                answer = await (self._over_http(change, data) if self._http else self._over_socket(change, data))
            except (Gone, TimeoutError, httpx.HTTPError):
                await self._wires.lost()
                answer = None
            if answer is not None and "revision" in answer:
                change.acknowledged = answer["revision"]
                self._room.journal.count("task changes acknowledged")
                return answer
            if answer is not None and not answer["retryable"]:
                text = f"a change is refused: {answer['code']}: {answer['message']}"
                self._room.journal.broken(Promise.TASKS, text, about=change.request_id, since=began)
            await asyncio.sleep(RETRY_SECONDS)

    async def _over_socket(self, change: Change, data: Frame) -> Frame:
        wire = await self._wires.get()
        sent = {**data, "requestId": change.request_id}
        if change.task_id is None:
            await wire.send("task:create", sent, frame_id=change.request_id)
        else:
            await wire.send("task:update", {**sent, "taskId": change.task_id}, frame_id=change.request_id)
        answer: Frame = (await wire.answer(change.request_id, ANSWER_SECONDS))["data"]
        return answer

    async def _over_http(self, change: Change, data: Frame) -> Frame:
        socket = self._chance.choice(sorted(self._room.sockets.values()))
        base = socket.replace("ws://", "http://").removesuffix("/ws")
        body = {**data, "requestId": change.request_id}
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=ANSWER_SECONDS) as http:
            if change.task_id is None:
                response = await http.post("/api/tasks", json=body)
            else:
                response = await http.patch(f"/api/tasks/{change.task_id}", json=body)
        answer: Frame = response.json()
        return answer


class Watcher:
    """Follows all tasks of the board, and holds every subscription to its word: each revision once, in order."""

    def __init__(self, room: Room, board: TaskBoard, name: str, seed: int) -> None:
        self._room = room
        self._name = name
        self._board = board
        self._seen = board.seen[name] = {}
        self._chance = random.Random(f"{seed} {name}")  # noqa: S311 (repeatable, guards nothing)
        self._wires = Wires(room.sockets, self._chance)
        self._last: dict[int, int] = {}
        """Task → the last revision on the present connection."""
        self._asked_at: dict[int, float] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        async with self._wires.closed_at_last():
            while True:
                await self._follow(await self._wires.get())
                await self._wires.lost()

    async def _follow(self, wire: Wire) -> None:
        """As long as this connection lasts."""
        journal = self._room.journal
        self._last.clear()
        try:
            for task_id in self._board.tasks:
                await self._subscribe(wire, task_id)
            await self._watch(wire)
        except Gone as gone:
            journal.note(f"{self._name} lost its connection to {wire.gateway} ({gone.code})", about=self._name)
        except TimeoutError:
            journal.note(f"{self._name} saw no change for {SILENCE_SECONDS:g} s at {wire.gateway}", about=self._name)
            journal.count("silences of 20 s")

    async def _subscribe(self, wire: Wire, task_id: int) -> None:
        self._asked_at[task_id] = self._room.journal.now()
        await wire.send("task:subscribe", {"taskId": task_id}, frame_id=str(task_id))

    async def _watch(self, wire: Wire) -> None:
        while True:
            frame = await wire.frame(SILENCE_SECONDS)
            match frame["type"]:
                case "task:update":
                    self._update(wire, frame["data"]["task"]["id"], frame["data"]["revision"])
                case "error":
                    self._room.journal.count(f"errors: {frame['data']['code']}")
                    await asyncio.sleep(RETRY_SECONDS)
                    await self._subscribe(wire, int(frame["id"]))

    def _update(self, wire: Wire, task_id: int, revision: int) -> None:
        last = self._last.get(task_id)
        journal = self._room.journal
        if last is None:
            asked_at = self._asked_at[task_id]
            targets = {wire.gateway, f"clients={wire.gateway}", f"{wire.gateway}=nats"}
            if not journal.hit(
                asked_at - 1, journal.now(), kinds={"nats", "database", "task_service"}, targets=targets
            ):
                journal.took("task: present state after subscribing", journal.now() - asked_at)
        elif revision != last + 1:
            text = f"{self._name} at {wire.gateway} saw revision {revision} of task {task_id} after {last}"
            journal.count("task revisions missed" if revision > last else "task revisions shown again")
            journal.broken(Promise.TASKS, text, about=self._name, since=journal.now() - 5)
        self._last[task_id] = revision
        self._seen[task_id] = max(self._seen.get(task_id, 0), revision)
