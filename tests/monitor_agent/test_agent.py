"""An agent as production runs it: a process with a real NATS and a real Valkey."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import msgspec
import psutil
import pytest

from libs.bus.connection import Bus, connect
from libs.bus.last_values import last_value
from libs.bus.streams import provision
from libs.contract import monitoring, streams, subjects
from libs.contract.monitoring import HistoryPoint, Hosts, HostStatus, Metrics, MonitoringHistoryData
from tests.brokers import Server
from tests.monitor_agent.agents import agent, ask, demand, error_of, hearing
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer


@pytest.fixture
def running(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> Iterator[ServiceProcess]:
    """An agent named `one.example`."""
    with agent("one.example", nats, valkey, tmp_path) as started:
        yield started


async def test_the_first_sample_comes_within_a_second_and_tells_everything(
    bus: Bus, nats: Server, valkey: Server, tmp_path: Path
) -> None:
    """Differences too: nobody waits 10 s for a first percentage."""
    async with hearing(bus, "first") as heard:
        with agent("first", nats, valkey, tmp_path):
            ready = monotonic()
            await until(lambda: heard.payloads, seconds=1)
            assert monotonic() - ready < 1
            [sample] = heard.samples
    assert (sample.host, sample.interval_seconds) == ("first", 10)
    assert sample.cpu.usage is not None
    assert 0 <= sample.cpu.usage <= 100
    assert len(sample.cpu.per_core) == sample.cpu.cores == psutil.cpu_count()
    assert sample.memory.total == psutil.virtual_memory().total
    assert sample.disk.total == psutil.disk_usage("/").total
    assert sample.network.rx is None or sample.network.rx >= 0
    assert sample.processes.count > 1
    assert sample.processes.top
    assert sample.load_average is not None
    assert len(sample.load_average) == 3


async def test_an_agent_may_start_before_its_stream_is_there(nats: Server, valkey: Server, tmp_path: Path) -> None:
    """Its first sample waits for the provisioning step, so that who comes next need not wait for the second."""
    async with connect(nats.url, name="test") as bus, hearing(bus, "early") as heard:
        with agent("early", nats, valkey, tmp_path):
            await provision(bus, streams.ALL)
            await until(lambda: heard.payloads, seconds=2)
            last = await last_value(bus, streams.MONITORING, subjects.monitoring_sampled("early"))
    assert last is not None
    assert [last.payload] == heard.payloads


async def test_no_argument_of_any_process_leaves_the_host(
    bus: Bus, nats: Server, valkey: Server, tmp_path: Path
) -> None:
    """Neither as an argument nor hidden in a long name; arguments are where people write passwords."""
    name = "a-name-longer-than-the-kernel-keeps"
    (tmp_path / name).symlink_to(sys.executable)
    command = [f"{name} --password=topsecret", "-c", "while True: pass", "--token=topsecret"]
    process = subprocess.Popen(command, executable=tmp_path / name)  # noqa: ASYNC220 (returns at once)
    try:
        async with hearing(bus, "careful") as heard:
            with agent("careful", nats, valkey, tmp_path):
                await demand(bus, 1)
                await until(lambda: any(process.pid in pids(sample) for sample in heard.samples), seconds=15)
    finally:
        process.kill()
        process.wait()
    assert [payload for payload in heard.payloads if b"topsecret" in payload or b"--" in payload] == []
    assert name[:15] in {process.name for sample in heard.samples for process in sample.processes.top}


def pids(sample: Metrics) -> set[int]:
    return {process.pid for process in sample.processes.top}


async def test_two_agents_on_one_machine_are_two_hosts(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> None:
    """Each with its own name, subject and history; any of them answers for both."""
    async with hearing(bus, "web-1.example") as one, hearing(bus, "máquina 2") as two:
        with agent("web-1.example", nats, valkey, tmp_path), agent("máquina 2", nats, valkey, tmp_path):
            await until(lambda: one.payloads and two.payloads)
            found = msgspec.json.decode((await ask(bus, "hosts")).data, type=Hosts)
            unnamed = await ask(bus, "history")
            histories = [await until_kept(bus, host, 1) for host in ("web-1.example", "máquina 2")]
    assert {sample.host for sample in one.samples} == {"web-1.example"}
    assert {sample.host for sample in two.samples} == {"máquina 2"}
    assert [(state.host, state.status) for state in found.hosts] == [
        ("máquina 2", HostStatus.LIVE),
        ("web-1.example", HostStatus.LIVE),
    ]
    assert error_of(unnamed).message == "monitoring:history needs a host; known: máquina 2, web-1.example."
    assert [[point.timestamp for point in points] for points in histories] == [
        [sample.timestamp for sample in heard.samples] for heard in (one, two)
    ]


async def test_samples_come_faster_only_while_somebody_demands_it(bus: Bus, running: ServiceProcess) -> None:
    """The demand of a watcher that has gone lapses by itself; the last promise is kept all the same."""
    async with hearing(bus, "one.example") as heard:
        await demand(bus, 1, host="one.example")
        started = monotonic()
        await until(lambda: len(heard.payloads) >= 4)
        assert monotonic() - started < 5
        assert {sample.interval_seconds for sample in heard.samples} == {1}
        await until(lambda: heard.samples[-1].interval_seconds == 10, seconds=monitoring.DEMAND_SECONDS + 5)
        # It promised the next in 10 s: had it gone on at 1 s, the next would be here.
        count = len(heard.payloads)
        with pytest.raises(TimeoutError):
            await until(lambda: len(heard.payloads) > count, seconds=2)


async def test_a_demand_brings_the_next_sample_forward(bus: Bus, running: ServiceProcess) -> None:
    """Who asks for 1 s does not wait for the 10 s that were promised before."""
    async with hearing(bus, "one.example") as heard:
        await until_kept(bus, "one.example", 1)
        await demand(bus, 1)
        assert (await heard.next(seconds=2)).interval_seconds == 1


async def test_a_demand_that_is_no_demand_changes_nothing(bus: Bus, running: ServiceProcess) -> None:
    """Neither 0 s nor garbage; both are logged."""
    for payload in (b"", b"garbage", b'{"intervalSeconds":0}', b'{"intervalSeconds":61}'):
        await bus.publish("monitoring.v1.demand", payload)
    await until(lambda: len([line for line in running.lines() if line["event"] == "a demand was not understood"]) == 4)
    assert running.is_ready()
    await until(lambda: running.metric("monitor_agent_interval_seconds") == 10)


async def kept(bus: Bus, host: str) -> list[HistoryPoint]:
    """The history of a host; nothing when there is no answer with one."""
    answer = await ask(bus, "history", {"host": host, "minutes": 1})
    if answer.type != "monitoring:history":
        return []
    return msgspec.json.decode(answer.data, type=MonitoringHistoryData).points


async def until_kept(bus: Bus, host: str, count: int, *, seconds: float = 10) -> list[HistoryPoint]:
    """The history of a host as soon as it has so many points."""
    async with asyncio.timeout(seconds):
        while len(points := await kept(bus, host)) < count:  # noqa: ASYNC110 (as in tests.waiting)
            await asyncio.sleep(0.05)
    return points


async def test_history_outlives_the_agent(bus: Bus, nats: Server, valkey: Server, tmp_path: Path) -> None:
    """It lies in Valkey: the agent that is started again goes on with it."""
    async with hearing(bus, "kept") as heard:
        with agent("kept", nats, valkey, tmp_path):
            await until_kept(bus, "kept", 1)
        with agent("kept", nats, valkey, tmp_path):
            points = await until_kept(bus, "kept", 2)
    told = [(sample.timestamp, sample.cpu.usage, sample.memory.used) for sample in heard.samples]
    assert [(point.timestamp, point.cpu_usage, point.memory_used) for point in points] == told


async def test_one_point_is_kept_for_ten_seconds_however_fast_the_samples_are(
    bus: Bus, running: ServiceProcess
) -> None:
    """An hour is an hour, also of a host that somebody watches closely."""
    async with hearing(bus, "one.example") as heard:
        await demand(bus, 1)
        await until(lambda: len(heard.payloads) == 3)
    assert len(await kept(bus, "one.example")) == 1


async def test_the_only_host_need_not_be_named(bus: Bus, running: ServiceProcess) -> None:
    """As on most installations; and the answer carries the word of who asked."""
    await until_kept(bus, "one.example", 1)
    answer = await ask(bus, "history")
    assert (answer.type, answer.id) == ("monitoring:history", "7")
    assert msgspec.json.decode(answer.data, type=MonitoringHistoryData).host == "one.example"


async def test_without_valkey_sampling_goes_on_and_history_says_why_it_cannot_answer(
    bus: Bus, running: ServiceProcess, valkey: Server
) -> None:
    """And what was sampled meanwhile is in it when Valkey is back."""
    await until_kept(bus, "one.example", 1)
    valkey.kill()
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
        # Taken while Valkey was away.
        await until(lambda: running.metric("monitor_agent_history_points_waiting") == 1, seconds=12)
    valkey.start()
    # Its memory was all that Valkey had here, so only what waited is there now.
    assert len(await until_kept(bus, "one.example", 1)) == 1
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


async def statuses(bus: Bus) -> dict[str, HostStatus]:
    """Every host that is known, and how it stands."""
    hosts = msgspec.json.decode((await ask(bus, "hosts")).data, type=Hosts).hosts
    return {state.host: state.status for state in hosts}


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


async def test_a_question_that_no_agent_knows_is_refused_by_name(bus: Bus, running: ServiceProcess) -> None:
    """A finished error frame, like every other answer."""
    answer = await ask(bus, "weather")
    assert answer.id == "7"
    assert error_of(answer).message == "This monitor agent knows no 'weather'."


def test_sigterm_ends_an_agent_in_order(running: ServiceProcess) -> None:
    """At once, with exit code 0 and nothing to complain about."""
    started = monotonic()
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    assert monotonic() - started < 3
    assert [line for line in running.lines() if line["level"] in ("error", "critical")] == []
