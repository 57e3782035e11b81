"""An agent as production runs it, when something beside it is late, dies or hangs."""

import signal
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from libs.bus.connection import Bus, connect
from libs.bus.last_values import last_value
from libs.bus.streams import provision
from libs.contract import monitoring, streams, subjects
from libs.contract.monitoring import Hosts, HostStatus
from tests.brokers import Server
from tests.monitor_agent.agents import agent, ask, demand, error_of, hearing, until_kept
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer


async def statuses(bus: Bus) -> dict[str, HostStatus]:
    """Every host that is known, and how it stands."""
    hosts = msgspec.json.decode((await ask(bus, "hosts")).data, type=Hosts).hosts
    return {state.host: state.status for state in hosts}


async def test_without_valkey_samples_come_and_history_says_why_it_cannot_answer(
    bus: Bus, nats: Server, valkey: Server, tmp_path: Path
) -> None:
    """And what was sampled meanwhile is in it when Valkey is there."""
    valkey.kill()
    with agent("one.example", nats, valkey, tmp_path) as running:
        async with hearing(bus, "one.example") as heard:
            await demand(bus, 1)
            await until(lambda: len(heard.payloads) == 2)
        error = error_of(await ask(bus, "history", {"host": "one.example"}))
        assert (error.code, error.retryable) == ("service_unavailable", True)
        assert error.message == (
            "The history is kept in Valkey, which does not answer. Live metrics go on; ask again later."
        )
        readiness = running.readiness()
        assert readiness["ready"]
        assert readiness["optional"]["valkey"] != "ok"
        assert running.metric("monitor_agent_history_points_waiting") == 1
        valkey.start()
        assert len(await until_kept(bus, "one.example", 1)) == 1
        await until(lambda: running.metric("monitor_agent_history_points_waiting") == 0)
        assert [line["event"] for line in running.lines() if "history" in line["event"]] == [
            "the history cannot be written; it waits in memory",
            "the history is written again",
        ]


async def test_a_frozen_valkey_delays_no_sample(bus: Bus, running: ServiceProcess, valkey: Server) -> None:
    """Nor does the question for history wait for long."""
    await until_kept(bus, "one.example", 1)
    valkey.freeze()
    async with hearing(bus, "one.example") as heard:
        await demand(bus, 1)
        started = monotonic()
        assert (await ask(bus, "history", {"host": "one.example"})).type == "error"
        await until(lambda: len(heard.payloads) >= 3)
    assert monotonic() - started < 5


async def test_samples_come_again_when_nats_is_back(bus: Bus, running: ServiceProcess, nats: Server) -> None:
    """Those taken meanwhile are not sent late in a heap."""
    async with hearing(bus, "one.example") as heard:
        await demand(bus, 1)
        await heard.next()
        nats.kill()
        await until(lambda: running.metric("monitor_agent_samples_total") > len(heard.payloads) + 1)
        before = len(heard.payloads)
        nats.start()
        await until(lambda: bus.connected)
        await demand(bus, 1)
        await until(lambda: len(heard.payloads) > before + 1)
        first, second = heard.samples[before : before + 2]
    assert (second.timestamp - first.timestamp).total_seconds() > 0.5
    # The stream is still there, or the host would be known to nobody who comes late.
    assert await statuses(bus) == {"one.example": HostStatus.LIVE}


@pytest.mark.thorough
async def test_a_host_whose_agent_is_killed_becomes_stale(
    bus: Bus, nats: Server, valkey: Server, tmp_path: Path
) -> None:
    """Said by whoever still lives."""
    with agent("witness", nats, valkey, tmp_path), agent("victim", nats, valkey, tmp_path) as victim:
        async with hearing(bus, "victim") as heard:
            await demand(bus, 1, host="victim")
            await until(lambda: heard.payloads and heard.samples[-1].interval_seconds == 1)
        victim.signal(signal.SIGKILL)
        victim.wait()
        assert await statuses(bus) == {"victim": HostStatus.LIVE, "witness": HostStatus.LIVE}

        async def is_stale() -> bool:
            return await statuses(bus) == {"victim": HostStatus.STALE, "witness": HostStatus.LIVE}

        await until_answer(is_stale, seconds=monitoring.stale_after(1) + 5)


async def test_history_outlives_the_agent(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> None:
    """It lies in Valkey: the agent that is started again goes on with it."""
    async with hearing(bus, "kept") as heard:
        with agent("kept", nats, valkey, tmp_path):
            await until_kept(bus, "kept", 1)
        with agent("kept", nats, valkey, tmp_path):
            points = await until_kept(bus, "kept", 2)
    told = [(sample.timestamp, sample.cpu.usage, sample.memory.used) for sample in heard.samples]
    assert [(point.timestamp, point.cpu_usage, point.memory_used) for point in points] == told


async def test_an_agent_may_start_before_its_stream_is_there(nats: Server, valkey: Server, tmp_path: Path) -> None:
    """Its first sample waits for the provisioning step, so that who comes next need not wait for the second."""
    async with connect(nats.url, name="test") as bus, hearing(bus, "early") as heard:
        with agent("early", nats, valkey, tmp_path):
            await provision(bus, streams.ALL)
            await until(lambda: heard.payloads, seconds=2)
            last = await last_value(bus, streams.MONITORING, subjects.monitoring_sampled("early"))
    assert last is not None
    assert [last.payload] == heard.payloads
