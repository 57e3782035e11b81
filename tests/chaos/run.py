"""One run: open the world, let clients and faults loose on it, let it come to rest, check every promise, end it."""

import asyncio
from typing import NamedTuple

from tests.chaos import model_outages, outages, report
from tests.chaos.burdens import HALF_OPEN_SECONDS, SlowReader, check_slow_readers, stay_half_open
from tests.chaos.chatting import Asker, Leaver, Tab
from tests.chaos.faults import Faults
from tests.chaos.invariants import check_chats, check_tasks
from tests.chaos.journal import Journal, Promise
from tests.chaos.model_outages import BriefAsker
from tests.chaos.poison import Poison
from tests.chaos.rest import check_gauges, check_weights, stop_all
from tests.chaos.room import Room
from tests.chaos.schedule import plan
from tests.chaos.tasks import Changer, TaskBoard, Watcher
from tests.chaos.watching import Prober, watch_machines
from tests.chaos.world import Shape, World
from tests.waiting import until

PROGRESS_SECONDS = 5.0
# From the last fault undone to the last answer told: an answer may have to be taken over, and begin again.
SETTLE_SECONDS = 90.0
# From peace to the newest revision on every screen, and to the next sample of the machine.
LIVE_SECONDS = 20.0


class Wanted(NamedTuple):
    """What the command line asks for."""

    minutes: float
    seed: int
    only: tuple[str, ...]
    shape: Shape
    askers: int
    tabs: int
    gap: float
    resume: bool


async def run(wanted: Wanted, world: World, journal: Journal) -> None:
    """Raises only when the world cannot be opened, or for a defect of the suite; broken promises are in the journal."""
    await world.open()
    room = Room(world.sockets, journal, wanted.resume)
    board = TaskBoard()
    prober = Prober(room, world.probes)
    brief = BriefAsker(room, prober.urls, wanted.seed)
    async with asyncio.TaskGroup() as beside:
        watching = [beside.create_task(world.supervise()), beside.create_task(prober.run())]
        await _hold(wanted, world, room, board, brief)
        outages.judge(journal, prober, single_nats=wanted.shape.nats == 1)
        model_outages.judge(journal, brief.told, fallback=wanted.shape.fallback)
        for task in watching:
            task.cancel()
    check_slow_readers(room, seconds=wanted.minutes * 60)
    report.say("checking")
    await check_gauges(world, journal)
    await check_chats(room, world.databases.urls["chat_worker"])
    await check_tasks(journal, board, world.databases.urls["task_service"])
    check_weights(world, journal)
    await stop_all(world, journal)


async def _hold(wanted: Wanted, world: World, room: Room, board: TaskBoard, brief: BriefAsker) -> None:
    """Load and faults, then peace until every client has what it waits for."""
    seed, journal = wanted.seed, room.journal
    changers = [Changer(room, board, f"changer-{way}", seed, http=way == "http") for way in ("socket", "http")]
    await changers[0].create()
    faults = Faults(world, journal, Poison(room, world, seed))
    kinds = {kind: does for kind, does in faults.kinds().items() if not wanted.only or kind in wanted.only}
    half_open = world.sockets if wanted.minutes * 60 > HALF_OPEN_SECONDS else ()
    until_then = journal.now() + wanted.minutes * 60
    # A client that dies of a defect of its own ends the run: it would otherwise look like a quiet one.
    async with asyncio.TaskGroup() as group:
        endless = [
            group.create_task(_progress(room, faults)),
            group.create_task(watch_machines(room, "machines", seed)),
            *(group.create_task(Watcher(room, board, f"watcher-{number}", seed).run()) for number in range(2)),
        ]
        clients = [
            *(group.create_task(Asker(room, f"asker-{number}", seed).run()) for number in range(wanted.askers)),
            *(group.create_task(Tab(room, f"tab-{number}", seed).run()) for number in range(wanted.tabs)),
            group.create_task(Leaver(room, "leaver", seed).run()),
            group.create_task(SlowReader(room, world, seed).run()),
            group.create_task(brief.run()),
            *(group.create_task(changer.run()) for changer in changers),
            *(group.create_task(stay_half_open(room, world, gateway)) for gateway in half_open),
        ]
        await faults.run(plan(seed, wanted.minutes * 60, kinds, gap=wanted.gap), since=journal.now())
        await asyncio.sleep(max(0.0, until_then - journal.now()))
        await _come_to_rest(world, room, board, clients)
        for task in (*endless, *clients):
            task.cancel()


async def _come_to_rest(world: World, room: Room, board: TaskBoard, clients: "list[asyncio.Task[None]]") -> None:
    journal = room.journal
    room.ending.set()
    report.say("no more faults; waiting until every client has what it waits for")
    journal.note("PEACE: every fault is undone")
    try:
        await world.mend()
    except TimeoutError as error:
        journal.broken(Promise.DEPENDENCIES_AWAY, f"not everything came back: {str(error).splitlines()[0]}")
    _, waiting = await asyncio.wait(clients, timeout=SETTLE_SECONDS)
    journal.count("clients still waiting at the end" if waiting else "all clients got what they waited for")
    samples = journal.counted["samples of machines seen"]
    try:
        await until(lambda: _all_newest(board), seconds=LIVE_SECONDS)
        await until(lambda: journal.counted["samples of machines seen"] > samples, seconds=LIVE_SECONDS)
    except TimeoutError:
        # Which of them, and what they show instead, is found by the checks.
        journal.broken(Promise.TASKS, "watchers do not show the present state of tasks or machines")


def _all_newest(board: TaskBoard) -> bool:
    newest = {task_id: board.newest(task_id) for task_id in board.tasks}
    return all(seen.get(task_id, 0) >= newest[task_id] for seen in board.seen.values() for task_id in board.tasks)


async def _progress(room: Room, faults: Faults) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        report.progress(room, faults.active())
