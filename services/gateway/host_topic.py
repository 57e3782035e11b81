"""One host, or all of them, watched by many connections: each sample once, and a word when a host falls silent.

monitoring.v1.host.<host>.sampled ─▶ every watcher whose interval has passed
stream MONITORING ─▶ the last sample of each host, for who comes new
watchers with a shorter interval ─▶ Demand ─▶ monitor_agent samples faster
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import structlog

from libs.bus.connection import Bus, BusUnavailable
from libs.bus.last_values import LastValue, last_value, last_values
from libs.contract import frames, streams, subjects
from libs.contract.monitoring import (
    DEFAULT_INTERVAL_SECONDS,
    Demand,
    HostState,
    HostStatus,
    MetricsFrame,
    SamplePromise,
    host_status,
)

log = structlog.get_logger(__name__)

_samples = msgspec.json.Decoder(MetricsFrame)


class Put(Protocol):
    """Queues a frame for one connection; one that still waits there under the same `newest_of` is replaced."""

    def __call__(self, frame: bytes, *, newest_of: str) -> None: ...


@asynccontextmanager
async def opened_host_topic(bus: Bus, host: str | None) -> AsyncIterator["HostTopic"]:
    """None: all hosts. Listens first and reads the last samples then, so that nothing falls between."""
    topic = HostTopic(bus, host)
    async with bus.listening(topic.sampled, topic.hear):
        await topic.remember()
        yield topic


class Watcher:
    """One connection that watches a topic, every `interval_seconds` as near as the samples allow."""

    def __init__(self, put: Put, interval_seconds: int) -> None:
        self.interval_seconds = interval_seconds
        self._put = put
        self._given: dict[str, float] = {}

    def take(self, host: "Host") -> None:
        """A new sample; passed on if the one before was given long enough ago."""
        given = self._given.get(host.name)
        # Half a sample's interval of grace: samples come a little early or late.
        if given is None or host.heard_at - given >= self.interval_seconds - host.promise.interval_seconds / 2:
            self._given[host.name] = host.heard_at
            self._put(host.frame, newest_of=f"sample {host.name}")

    def told(self, state: HostState) -> None:
        """The host's status has changed."""
        self._put(frames.encode("monitoring:host", state), newest_of=f"status {state.host}")


class Host:
    """What is known of one host: its newest sample."""

    def __init__(self, frame: bytes, promise: SamplePromise, heard_at: float) -> None:
        self.name = promise.host
        self.frame = frame
        self.promise = promise
        self.heard_at = heard_at
        self.status = HostStatus.LIVE

    def state(self) -> HostState:
        return HostState(
            host=self.name,
            status=self.status,
            last_sample_at=self.promise.timestamp,
            interval_seconds=self.promise.interval_seconds,
        )

    def status_now(self) -> HostStatus:
        return host_status(time.monotonic() - self.heard_at, self.promise.interval_seconds)


class HostTopic:
    """Made by `opened_host_topic`."""

    def __init__(self, bus: Bus, host: str | None) -> None:
        self.sampled = subjects.MONITORING_SAMPLED_ALL if host is None else subjects.monitoring_sampled(host)
        self._demand = subjects.MONITORING_DEMAND_ALL if host is None else subjects.monitoring_demand(host)
        self._bus = bus
        self._host = host
        self._hosts: dict[str, Host] = {}
        self._watchers: set[Watcher] = set()
        self._slowest = DEFAULT_INTERVAL_SECONDS
        """How long some host here lets us wait when nobody asks for more."""

    def hear(self, _subject: str, frame: bytes) -> None:
        """A sample from the bus."""
        host = self._put_in_place(frame, _samples.decode(frame).data, time.monotonic())
        for watcher in self._watchers:
            watcher.take(host)

    async def remember(self) -> None:
        """Reads the last samples. Without JetStream there are none, and the next ones come all the same."""
        try:
            for value in await self._last_values():
                promise = _samples.decode(value.payload).data
                known = self._hosts.get(promise.host)
                if known is None or known.promise.timestamp < promise.timestamp:
                    self._put_in_place(value.payload, promise, time.monotonic() - value.age_seconds)
        except BusUnavailable as error:
            log.warning("the last samples cannot be read", reason=error.message)

    def states(self) -> list[HostState]:
        return [self._hosts[name].state() for name in sorted(self._hosts)]

    def join(self, watcher: Watcher) -> None:
        """From now on; begins with the newest sample of every host that is not gone."""
        for host in self._hosts.values():
            if host.status is not HostStatus.GONE:
                watcher.take(host)
        self._watchers.add(watcher)

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)

    async def demand(self) -> None:
        """Asks the agents for faster samples, if somebody here wants them. Holds for `DEMAND_SECONDS`."""
        wanted = min((watcher.interval_seconds for watcher in self._watchers), default=self._slowest)
        if wanted >= self._slowest:
            return
        try:
            await self._bus.publish(self._demand, msgspec.json.encode(Demand(wanted)))
        except BusUnavailable as error:
            log.warning("faster samples cannot be asked for", reason=error.message)

    def look_for_silence(self) -> None:
        """Tells the watchers of each host that is late, or gone, since the last look."""
        forgotten = time.monotonic() - streams.MONITORING.max_age_seconds
        for host in list(self._hosts.values()):
            if host.heard_at < forgotten:
                del self._hosts[host.name]
            else:
                self._set_status(host, host.status_now())

    async def _last_values(self) -> list[LastValue]:
        if self._host is None:
            return await last_values(self._bus, streams.MONITORING)
        value = await last_value(self._bus, streams.MONITORING, self.sampled)
        return [] if value is None else [value]

    def _put_in_place(self, frame: bytes, promise: SamplePromise, heard_at: float) -> Host:
        host = self._hosts.get(promise.host)
        if host is None:
            host = self._hosts[promise.host] = Host(frame, promise, heard_at)
        host.frame, host.promise, host.heard_at = frame, promise, heard_at
        self._slowest = max(self._slowest, promise.interval_seconds)
        self._set_status(host, host.status_now())
        return host

    def _set_status(self, host: Host, status: HostStatus) -> None:
        if host.status is not status:
            host.status = status
            state = host.state()
            log.info("a host has changed", host=host.name, status=status)
            for watcher in self._watchers:
                watcher.told(state)
