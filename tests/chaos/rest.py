"""When all clients have left: gauges at zero, no process too many, none too heavy, and an orderly stop."""

import asyncio

import psutil

from tests.chaos.journal import Journal, Promise
from tests.chaos.part import Part
from tests.chaos.world import World

GAUGES = {
    "gateway": [
        "gateway_connections",
        "gateway_send_queue_bytes",
        "gateway_client_tasks",
        "gateway_subscriptions",
        "gateway_topics",
    ],
    "chat_worker": ["chat_worker_generations_running", "chat_worker_requests_in_hand"],
    "monitor_agent": ["monitor_agent_history_points_waiting"],
}
ZERO_SECONDS = 30.0
LOOK_SECONDS = 0.25
# Measured: 60 to 110 MiB under this load. Whatever leaks passes this within a long run.
MOST_MIB = 300
MIB = 1024**2


async def check_gauges(world: World, journal: Journal) -> None:
    """Promise 5: whatever came and went, everything counted is back at exactly zero."""
    for part in world.services():
        names = GAUGES.get(part.kind, [])
        left: dict[str, float] = {}
        try:
            async with asyncio.timeout(ZERO_SECONDS):
                while left := await _not_zero(world, part.name, names):  # noqa: ASYNC110 (in another process)
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            text = f"{part.name} still counts {left or 'something (it does not answer)'}"
            journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=part.name)


async def _not_zero(world: World, part: str, names: list[str]) -> dict[str, float]:
    counted = await world.metrics(part)
    if counted is None:
        return {"does not answer": 1.0}
    return {name: counted[name] for name in names if counted[name] != 0}


def check_weights(world: World, journal: Journal) -> None:
    """Memory is bounded."""
    for part in world.services():
        if part.highest_rss > MOST_MIB * MIB:
            text = f"{part.name} held {part.highest_rss / MIB:.0f} MiB"
            journal.broken(Promise.SLOW_AND_DEAD_CLIENTS, text, about=part.name)


async def stop_all(world: World, journal: Journal) -> None:
    """Promise 6: every service leaves with exit code 0 when it is told to, and leaves nothing behind."""

    async def stop(part: Part) -> None:
        code = await part.stop()
        if code != 0:
            ended = "had to be killed" if code is None else f"ended with {code}"
            journal.broken(Promise.DRAIN, f"{part.name} {ended} after SIGTERM", about=part.name)

    await asyncio.gather(*(stop(part) for part in world.services()))
    await world.close()
    for child in psutil.Process().children(recursive=True):
        if child.status() != psutil.STATUS_ZOMBIE:
            journal.broken(Promise.DRAIN, f"a process is left over: {child.pid} {' '.join(child.cmdline())[:120]}")
