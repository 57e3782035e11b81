"""Agents as processes, what they are asked, and what is heard of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from libs.bus.connection import Bus
from libs.contract import subjects
from libs.contract.frames import ClientRequest, ErrorData
from libs.contract.ids import LOCAL_USER, new_id
from libs.contract.monitoring import Demand, HistoryPoint, Metrics, MonitoringHistoryData
from tests.brokers import Server
from tests.on_the_bus import listening
from tests.processes import ServiceProcess, service
from tests.waiting import until


class SampleFrame(Struct, frozen=True):
    """A `metrics` frame as a client receives it."""

    type: Literal["metrics"]
    data: Metrics


class AnswerFrame(Struct, frozen=True):
    """The frame that answers a question."""

    type: str
    data: Raw
    id: str | None = None


class Heard:
    """The samples that came, the newest last."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    @property
    def samples(self) -> list[Metrics]:
        return [msgspec.json.decode(payload, type=SampleFrame).data for payload in self.payloads]

    async def next(self, *, seconds: float = 15) -> Metrics:
        """The next sample that comes."""
        count = len(self.payloads)
        await until(lambda: len(self.payloads) > count, seconds=seconds)
        return self.samples[count]


@asynccontextmanager
async def hearing(bus: Bus, host: str) -> AsyncIterator[Heard]:
    """Every sample of a host, for as long as the block lasts."""
    heard = Heard()
    async with listening(bus, subjects.monitoring_sampled(host), lambda _, payload: heard.payloads.append(payload)):
        yield heard


def error_of(answer: AnswerFrame) -> ErrorData:
    """The error that was answered."""
    assert answer.type == "error"
    return msgspec.json.decode(answer.data, type=ErrorData)


@contextmanager
def agent(host: str, nats: Server, valkey: Server, folder: Path, **env: str) -> Iterator[ServiceProcess]:
    """A running agent that calls itself `host`."""
    settings = {"NATS_URL": nats.url, "VALKEY_URL": valkey.url, "MONITOR_AGENT_HOST_NAME": host, **env}
    with service("monitor_agent", settings, folder / f"{host}.log") as running:
        yield running


async def demand(bus: Bus, interval_seconds: int, *, host: str | None = None) -> None:
    """As a gateway says that somebody watches: one host, or all."""
    subject = subjects.MONITORING_DEMAND_ALL if host is None else subjects.monitoring_demand(host)
    await bus.publish(subject, msgspec.json.encode(Demand(interval_seconds)))


async def ask(bus: Bus, name: str, data: object = None) -> AnswerFrame:
    """As a gateway asks for a client."""
    request = ClientRequest(
        request_id=new_id(),
        user=LOCAL_USER,
        reply="reply.test.test",
        type=f"monitoring:{name}",
        frame_id="7",
        data=Raw(msgspec.json.encode(data or {})),
    )
    answer = await bus.request(subjects.monitoring_query(name), msgspec.json.encode(request), timeout=5)
    return msgspec.json.decode(answer, type=AnswerFrame)


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
