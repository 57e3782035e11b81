"""The sampling loop when a sample fails or does not end, and the thread that it is taken in."""

import asyncio
import subprocess
import sys
import threading

import msgspec
import pytest
from redis.asyncio import Redis

from libs.bus.connection import Bus
from libs.contract.monitoring import Demand, Metrics
from services.monitor_agent import sampler as sampler_module
from services.monitor_agent.demands import Demands
from services.monitor_agent.history import History
from services.monitor_agent.own_thread import OwnThread
from services.monitor_agent.sampler import Sampler
from services.monitor_agent.sampling import Sampling
from tests.brokers import Server
from tests.monitor_agent.agents import hearing
from tests.processes import ROOT
from tests.waiting import until, wait_until


async def test_a_sample_that_fails_is_followed_by_the_next(bus: Bus, valkey: Server) -> None:
    """A defect in one reading must not silence a host for ever."""
    sampler = Sampler("h", lm_studio_url="", nvml=None)
    attempts = 0

    async def take_sample(interval_seconds: int) -> Metrics:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise OSError("a device has gone")
        return sampler.sample(interval_seconds)

    async with Redis.from_url(valkey.url) as client, hearing(bus, "h") as heard:
        sampling = Sampling(bus, take_sample, History(client, "h"), host="h", demands=Demands(1))
        running = asyncio.create_task(sampling.run())
        await heard.next()
        running.cancel()
    assert attempts == 2


async def test_samples_come_faster_only_while_somebody_demands_it(bus: Bus, valkey: Server) -> None:
    """The demand of a watcher that has gone lapses by itself; the last promise is kept all the same."""
    sampler = Sampler("h", lm_studio_url="", nvml=None)

    async def take_sample(interval_seconds: int) -> Metrics:
        return sampler.sample(interval_seconds)

    async with Redis.from_url(valkey.url) as client, hearing(bus, "h") as heard:
        demands = Demands(3, held_seconds=1.5)
        sampling = Sampling(bus, take_sample, History(client, "h"), host="h", demands=demands)
        sampling.hear_demand("", msgspec.json.encode(Demand(1)))
        running = asyncio.create_task(sampling.run())
        assert (await heard.next()).interval_seconds == 1
        await until(lambda: heard.samples[-1].interval_seconds == 3)
        # It promised the next in 3 s: had it gone on at 1 s, the next would be here.
        count = len(heard.payloads)
        with pytest.raises(TimeoutError):
            await until(lambda: len(heard.payloads) > count, seconds=1.5)
        running.cancel()


async def test_an_agent_whose_sample_does_not_end_says_that_it_is_not_ready(bus: Bus, valkey: Server) -> None:
    """The event loop goes on, so the probe can tell."""

    async def take_sample(_: int) -> Metrics:
        await asyncio.Event().wait()
        raise AssertionError

    async with Redis.from_url(valkey.url) as client:
        sampling = Sampling(bus, take_sample, History(client, "h"), host="h", demands=Demands(1))
        running = asyncio.create_task(sampling.run())
        await sampling.ping()
        sampling._taken_at -= 100
        with pytest.raises(TimeoutError, match="the last sample was taken 100 s ago"):
            await sampling.ping()
        running.cancel()


async def test_calls_run_one_after_the_other_beside_the_event_loop() -> None:
    """So no two looks at the same counters meet."""
    thread = OwnThread("test")
    names = await asyncio.gather(*(thread.run(threading.current_thread) for _ in range(3)))
    assert {name.name for name in names} == {"test"}
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: 42) == 42


async def test_a_call_whose_caller_has_gone_does_not_stop_the_next() -> None:
    """Its result is nobody's."""
    thread = OwnThread("test")
    go_on = threading.Event()
    abandoned = asyncio.create_task(thread.run(go_on.wait))
    await asyncio.sleep(0)
    abandoned.cancel()
    go_on.set()
    assert await thread.run(lambda: 42) == 42


def test_a_call_that_never_returns_does_not_keep_the_process_alive() -> None:
    """As a disk that has been pulled out would."""
    program = """
import asyncio, threading
from services.monitor_agent import sampler as sampler_module
from services.monitor_agent.own_thread import OwnThread
async def main():
    try:
        await asyncio.wait_for(OwnThread("stuck").run(threading.Event().wait), 0.1)
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "given up\n")


def test_processes_are_looked_at_seldom_however_fast_the_samples_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of a sample's cost."""
    monkeypatch.setattr(sampler_module, "SLOW_SECONDS", 0.7)
    sampler = Sampler("h", lm_studio_url="", nvml=None)
    first, second = sampler.sample(1), sampler.sample(1)
    assert second.processes is first.processes
    assert second.timestamp > first.timestamp
    wait_until(lambda: sampler.sample(1).processes is not first.processes, seconds=4)
