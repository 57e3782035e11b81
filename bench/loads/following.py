"""Fan-out by this system: 1,000 clients follow one host and one task through one gateway; and one client alone."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from bench import http
from bench.crowd import Crowd
from bench.http import Http
from bench.loads import fan_out
from bench.loads.fan_out import SUBSCRIBERS, WAIT_SECONDS, Server
from bench.marks import Marks
from bench.peers.system import System
from bench.readings import Reading, Result, percentile, together
from libs.bus.connection import Bus, connect
from libs.contract import frames, monitoring, subjects
from tests.gateway.played import sample, update_frame

HOST = "bench"
# A subscriber gets a host's sample once in a second at most.
APART_SECONDS = 1.1
CHANGE = "task: one change, one subscriber"

_METRICS, _UPDATE = b'{"type":"metrics"', b'{"type":"task:update"'


def sample_frame() -> bytes:
    """A sample of about 2 KB, as of a machine with 16 cores and a usual number of processes."""
    top = [monitoring.ProcessUsage(number, f"process-{number}", 1.5, 10**8) for number in range(100, 116)]
    small = sample(HOST, interval_seconds=60, at=datetime.now(UTC))
    large = msgspec.structs.replace(
        small,
        cpu=monitoring.Cpu(12.5, 16, [12.5] * 16, 2400.0, 55.0),
        processes=msgspec.structs.replace(small.processes, count=200, top=top),
    )
    return frames.encode("metrics", large)


async def run(system: System, *, rounds: int, steady_seconds: float) -> Result:
    """Raises `TimeoutError` when something does not come to everybody."""
    gateway = system.part("gateway").pid
    assert gateway is not None
    heard = Marks()
    crowd = Crowd(system.gateways[0], "/ws", overhear=heard.read)
    server = Server(system.name, gateway, crowd)
    results: list[Result] = []
    try:
        await crowd.grow(SUBSCRIBERS)
        async with connect(system.nats_url, name="bench") as bus, http.opened(system.gateways[0]) as asking:
            await _follow_host(crowd, bus)
            task = await _follow_task(crowd, asking)

            async def publish_sample(_: int) -> None:
                await bus.publish(subjects.monitoring_sampled(HOST), sample_frame())

            async def change_task(number: int) -> None:
                await asking.ask("PATCH", f"/api/tasks/{task}", {"title": f"change {number}"})

            for number in range(rounds):
                await asyncio.sleep(APART_SECONDS)
                results.append(await fan_out.once(fan_out.SAMPLE, server, _METRICS, publish_sample, number))
                results.append(await fan_out.once(fan_out.TASK, server, _UPDATE, change_task, number))
            results.append(await _steady(server, bus, asking, heard, steady_seconds))
    finally:
        crowd.leave()
    return together(results)


async def _follow_host(crowd: Crowd, bus: Bus) -> None:
    await bus.publish(subjects.monitoring_sampled(HOST), sample_frame())
    await bus.ping()
    crowd.expect(_METRICS)
    for socket in crowd.sockets:
        socket.send_frame("monitoring:subscribe", {"hosts": [HOST], "intervalSeconds": 1})
    await crowd.heard(WAIT_SECONDS)


async def _follow_task(crowd: Crowd, asking: Http) -> int:
    """A new task that everybody follows."""
    task: int = (await asking.ask("POST", "/api/tasks", {"title": "Fan-out"}))["task"]["id"]
    crowd.expect(_UPDATE)
    for socket in crowd.sockets:
        socket.send_frame("task:subscribe", {"taskId": task})
    await crowd.heard(WAIT_SECONDS)
    return task


async def _steady(server: Server, bus: Bus, asking: Http, heard: Marks, seconds: float) -> Result:
    """Changes as a task service would publish them, without its database: only the fan-out is of interest."""
    task = await _follow_task(server.crowd, asking)

    async def publish(number: int, marked: str) -> None:
        await bus.publish(subjects.task_updated(task), update_frame(task, number + 2, marked))

    return await fan_out.steady(server, heard, publish, seconds)


async def change_latency(system: System, changes: int) -> Result:
    """One change after the other by HTTP, each with its commit, and when one client that follows has it."""
    crowd = Crowd(system.gateways[0], "/ws")
    late: list[float] = []
    answered: list[float] = []
    try:
        await crowd.grow(1)
        async with http.opened(system.gateways[0]) as asking:
            task = await _follow_task(crowd, asking)
            for number in range(changes):
                crowd.expect(_UPDATE)
                began = time.monotonic_ns()
                await asking.ask("PATCH", f"/api/tasks/{task}", {"title": f"change {number}"})
                answered.append((time.monotonic_ns() - began) / 1e6)
                late.append(((await crowd.heard(WAIT_SECONDS))[0] - began) / 1e6)
    finally:
        crowd.leave()
    readings = [
        Reading(CHANGE, "HTTP request to socket ms p50", system.name, percentile(late, 0.5)),
        Reading(CHANGE, "HTTP request to socket ms p99", system.name, percentile(late, 0.99)),
        Reading(CHANGE, "HTTP answer ms p50", system.name, percentile(answered, 0.5)),
    ]
    return Result(readings, [])
