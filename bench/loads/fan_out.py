"""One message to 1,000 subscribers of one server: how late it comes to each, and what a delivery costs the server.

bench ── a host's sample ──▶ NATS ──▶ gateway ══▶ 1,000 sockets
bench ── PATCH a task ──▶ gateway ─▶ task service, commit ─▶ NATS ─▶ gateway ══▶ 1,000 sockets
bench ── the same bytes ──▶ nats-server ══▶ 1,000 sockets of its own WebSocket listener
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from bench.crowd import Crowd
from bench.marks import Marks, mark
from bench.readings import Reading, Result, percentile
from bench.usage import cpu_ns

SUBSCRIBERS = 1000
WAIT_SECONDS = 20.0
# What is still under way in the server when the last subscriber has its frame.
SETTLE_SECONDS = 0.05
STEADY_PER_SECOND = 20

SAMPLE = f"fan-out sample: 2 KB to {SUBSCRIBERS:,} subscribers"
TASK = f"fan-out task: one change to {SUBSCRIBERS:,} subscribers, from the HTTP request"
STEADY = f"fan-out steady: {STEADY_PER_SECOND} messages a second to {SUBSCRIBERS:,} subscribers"

Tell = Callable[[int], Awaitable[None]]
TellMarked = Callable[[int, str], Awaitable[None]]


class Server(NamedTuple):
    """What is measured: its process, and who are connected to it."""

    name: str
    pid: int
    crowd: Crowd


async def once(load: str, server: Server, beginning: bytes, tell: Tell, number: int) -> Result:
    """Calls `tell(number)` and waits until everybody has a frame that begins like this. Raises `TimeoutError`."""
    server.crowd.expect(beginning)
    before, began = cpu_ns(server.pid), time.monotonic_ns()
    await tell(number)
    late = [(arrived - began) / 1e6 for arrived in await server.crowd.heard(WAIT_SECONDS)]
    await asyncio.sleep(SETTLE_SECONDS)
    return Result(_readings(load, server, late, cpu_ns(server.pid) - before), [])


async def steady(server: Server, heard: Marks, tell: TellMarked, seconds: float) -> Result:
    """Calls `tell(number, mark)` at a steady pace; `heard` gets all the marks that come to anybody."""
    loop = asyncio.get_running_loop()
    count = int(seconds * STEADY_PER_SECOND)
    expected = count * len(server.crowd.sockets)
    before, started = cpu_ns(server.pid), loop.time()
    for number in range(count):
        await asyncio.sleep(max(0.0, started + number / STEADY_PER_SECOND - loop.time()))
        await tell(number, mark(number, time.monotonic_ns()).decode())
    deadline = loop.time() + WAIT_SECONDS
    while len(heard) < expected and loop.time() < deadline:  # noqa: ASYNC110 (an event would cost at every arrival)
        await asyncio.sleep(SETTLE_SECONDS)
    used = cpu_ns(server.pid) - before
    faults = [] if len(heard) == expected else [f"{server.name}, {STEADY}: {len(heard)} came of {expected}"]
    return Result(_readings(STEADY, server, heard.added_ms(), used), faults)


def _readings(load: str, server: Server, late_ms: list[float], used_ns: int) -> list[Reading]:
    return [
        Reading(load, "ms p50", server.name, percentile(late_ms, 0.5)),
        Reading(load, "ms p99", server.name, percentile(late_ms, 0.99)),
        Reading(load, "CPU µs/delivery", server.name, used_ns / 1000 / len(late_ms)),
    ]
