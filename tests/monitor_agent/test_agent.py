"""An agent as production runs it: a process with a real NATS and a real Valkey."""

import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import msgspec
import psutil

from libs.bus.connection import Bus
from libs.contract.monitoring import Hosts, HostStatus, Metrics, MonitoringHistoryData
from tests.brokers import Server
from tests.monitor_agent.agents import agent, ask, demand, error_of, hearing, kept, until_kept
from tests.processes import ServiceProcess
from tests.waiting import until


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
