"""Thousands of connections that do nothing but answer heartbeats: what one costs the gateway."""

import asyncio
from typing import NamedTuple

from bench.crowd import Crowd
from bench.peers.system import System
from bench.readings import Reading, Result
from bench.usage import cpu_ns, rss_bytes
from services.gateway.heartbeats import HEARTBEAT_SECONDS

# By then every connection has had a heartbeat, and the first ones would be closed without an answer to it.
HOLD_SECONDS = 2 * HEARTBEAT_SECONDS + 5
SETTLE_SECONDS = 1.0


class IdleLoad(NamedTuple):
    """`held`: after the first `sizes` for two heartbeats."""

    sizes: tuple[int, ...]
    held: bool


FULL = IdleLoad((5000, 10_000), held=True)
QUICK = IdleLoad((2000,), held=False)


async def run(system: System, load: IdleLoad) -> Result:
    """On a gateway that has had no connection before: memory that was freed would be used again."""
    gateway = system.part("gateway").pid
    assert gateway is not None
    crowd = Crowd(system.gateways[0], "/ws")
    readings: list[Reading] = []
    faults: list[str] = []
    empty = rss_bytes(gateway)
    try:
        for number, size in enumerate(load.sizes):
            # The goal is for the first size.
            name = f"{'idle' if number == 0 else 'idle, more'}: {size:,} connections"
            before, had = cpu_ns(gateway), len(crowd.sockets)
            await crowd.grow(size)
            connecting = cpu_ns(gateway) - before
            await asyncio.sleep(SETTLE_SECONDS)
            readings += [
                Reading(name, "KiB/connection", system.name, (rss_bytes(gateway) - empty) / 1024 / size),
                Reading(name, "CPU µs/connect", system.name, connecting / 1000 / (size - had)),
            ]
            if load.held and number == 0:
                before = cpu_ns(gateway)
                await asyncio.sleep(HOLD_SECONDS)
                used = (cpu_ns(gateway) - before) / 1000 / size / HOLD_SECONDS
                pinged = sum(socket.pings > 0 for socket in crowd.sockets)
                readings += [
                    Reading(name, "CPU µs/connection and second", system.name, used),
                    Reading(name, "KiB/connection, held", system.name, (rss_bytes(gateway) - empty) / 1024 / size),
                    Reading(name, "% that had a heartbeat", system.name, pinged / size * 100),
                ]
            if crowd.lost():
                faults.append(f"{system.name}, {name}: {crowd.lost()} were closed")
    finally:
        crowd.leave()
    return Result(readings, faults)
