"""Monitoring: what a host reports, what clients ask of it, and when a silent host is stale or gone.

Percentages are 0 to 100, sizes bytes, rates bytes per second, all over the time since the sample before. What a host
cannot tell is null, never 0.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from libs.contract.moments import Moment

HostName = Annotated[str, Meta(min_length=1, max_length=255)]
IntervalSeconds = Annotated[int, Meta(ge=1, le=60)]

DEFAULT_INTERVAL_SECONDS = 10

# A demand for faster samples lasts so long; who still watches sends it again well before that.
DEMAND_SECONDS = 10.0
DEMAND_AGAIN_SECONDS = 3.0

HISTORY_INTERVAL_SECONDS = 10
HISTORY_MINUTES = 120

# ---- What clients ask -------------------------------------------------------------------------------------------


class MonitoringSubscribe(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`monitoring:subscribe`: every host, or those named, every 10 s or as often as asked."""

    interval_seconds: IntervalSeconds = DEFAULT_INTERVAL_SECONDS
    hosts: Annotated[list[HostName], Meta(min_length=1, max_length=64)] | None = None


class MonitoringUnsubscribe(Struct, frozen=True):
    """`monitoring:unsubscribe`: no more of any host."""


class MonitoringHistory(Struct, frozen=True, rename="camel", omit_defaults=True):
    """`monitoring:history`: the last `minutes` of one host. The name may be left out where there is only one host."""

    host: HostName | None = None
    minutes: Annotated[int, Meta(ge=1, le=HISTORY_MINUTES)] = 60


# ---- What clients are told: `metrics` ---------------------------------------------------------------------------


class Cpu(Struct, frozen=True, rename="camel"):
    """`cores` counts logical ones; `temperature` is in °C."""

    usage: float | None
    cores: int
    per_core: list[float | None]
    frequency_mhz: float | None
    temperature: float | None


class Memory(Struct, frozen=True, rename="camel"):
    """`available`: what programs can still have, without swapping; `used_percent` is what they cannot."""

    total: int
    used: int
    free: int
    available: int
    used_percent: float | None


class Swap(Struct, frozen=True, rename="camel"):
    """A machine without swap has a total of 0, and no percentage."""

    total: int
    used: int
    free: int
    used_percent: float | None


class Disk(Struct, frozen=True, rename="camel"):
    """The root file system; the rates are those of all physical disks together."""

    total: int | None
    used: int | None
    free: int | None
    used_percent: float | None
    read_rate: float | None
    write_rate: float | None


class Mount(Struct, frozen=True, rename="camel"):
    """One mounted disk; its rates are those of the device that it lies on."""

    mount: str
    device: str
    file_system: str
    total: int | None
    used: int | None
    free: int | None
    used_percent: float | None
    read_rate: float | None
    write_rate: float | None


class Interface(Struct, frozen=True, rename="camel"):
    """One network interface; the totals count from the start of the machine."""

    name: str
    rx: float | None
    tx: float | None
    rx_total: int
    tx_total: int


class Network(Struct, frozen=True, rename="camel"):
    """The interfaces to the outside together: without loopback, bridges and the near ends of containers."""

    rx: float | None
    tx: float | None
    rx_total: int
    tx_total: int
    interfaces: list[Interface]


class Gpu(Struct, frozen=True, rename="camel"):
    """`temperature` in °C, `power` in watts. All null but the name: it sleeps, and was not woken to be measured."""

    index: int
    name: str | None
    usage: float | None
    memory_total: int | None
    memory_used: int | None
    memory_used_percent: float | None
    temperature: float | None
    power: float | None


class ProcessUsage(Struct, frozen=True, rename="camel"):
    """`cpu_usage` is a share of the whole machine (all cores: 100). Never its arguments: they can hold secrets."""

    pid: int
    name: str
    cpu_usage: float | None
    memory: int


class ModelServer(Struct, frozen=True, rename="camel"):
    """The model server and all its child processes together. Pid unknown: it runs, but as somebody else's."""

    running: bool
    pid: int | None
    cpu_usage: float | None
    memory: int | None


class Processes(Struct, frozen=True, rename="camel"):
    """`top`: those that use most CPU and those that use most memory, most CPU first. Looked at every 5 s at most."""

    count: int
    top: list[ProcessUsage]
    model_server: ModelServer


class Metrics(Struct, frozen=True, rename="camel"):
    """`metrics`: one sample of one host. It promises the next one within `interval_seconds`."""

    host: str
    timestamp: Moment
    interval_seconds: int
    cpu: Cpu
    memory: Memory
    swap: Swap
    disk: Disk
    disks: list[Mount]
    network: Network
    gpu: list[Gpu]
    processes: Processes
    load_average: list[float] | None


class SamplePromise(Struct, frozen=True, rename="camel"):
    """What has to be read of a sample to tell when its host is late."""

    host: str
    timestamp: Moment
    interval_seconds: int


class MetricsFrame(Struct, frozen=True):
    """A finished `metrics` frame, of which only the promise is read."""

    data: SamplePromise


# ---- What clients are told: which hosts there are ---------------------------------------------------------------


class HostStatus(StrEnum):
    """Live: as promised. Stale: late, so what is shown may be wrong. Gone: machine, agent or network is off."""

    LIVE = "live"
    STALE = "stale"
    GONE = "gone"


# One sample may be lost and the next may come late; this comes on top for intervals as short as 1 s.
LATE_INTERVALS = 2
LATE_SECONDS = 5.0
# An agent that restarts, or a bus that does, is back within a minute.
GONE_INTERVALS = 6
GONE_SECONDS = 60.0


def stale_after(interval_seconds: float) -> float:
    """The age in seconds from which a sample that promised the next within `interval_seconds` is stale."""
    return LATE_INTERVALS * interval_seconds + LATE_SECONDS


def gone_after(interval_seconds: float) -> float:
    """The age in seconds from which its host is gone."""
    return max(GONE_INTERVALS * interval_seconds, GONE_SECONDS)


def host_status(age_seconds: float, interval_seconds: float) -> HostStatus:
    """How a host stands whose newest sample is so old. A negative age (clocks differ) is as good as new."""
    if age_seconds < stale_after(interval_seconds):
        return HostStatus.LIVE
    if age_seconds < gone_after(interval_seconds):
        return HostStatus.STALE
    return HostStatus.GONE


class HostState(Struct, frozen=True, rename="camel"):
    """`monitoring:host`: sent to who watches a host when its status changes; and one entry of `monitoring:hosts`."""

    host: str
    status: HostStatus
    last_sample_at: Moment
    interval_seconds: int


class MonitoringSubscribed(Struct, frozen=True, rename="camel"):
    """`monitoring:subscribed`, with the hosts heard of so far; the last sample of each that is not gone follows."""

    interval_seconds: int
    hosts: list[HostState]


class Hosts(Struct, frozen=True, rename="camel"):
    """`monitoring:hosts`: every host heard of in the last day, by name."""

    hosts: list[HostState]


# ---- What clients are told: `monitoring:history` ----------------------------------------------------------------


class HistoryPoint(Struct, frozen=True, rename="camel"):
    """What is kept of one sample. The lists have one entry for each GPU."""

    timestamp: Moment
    cpu_usage: float | None
    cpu_temperature: float | None
    memory_used: int
    memory_used_percent: float | None
    swap_used_percent: float | None
    disk_used_percent: float | None
    disk_read_rate: float | None
    disk_write_rate: float | None
    network_rx: float | None
    network_tx: float | None
    load_average: float | None
    gpu_usage: list[float | None]
    gpu_memory_used_percent: list[float | None]


class MonitoringHistoryData(Struct, frozen=True, rename="camel"):
    """`monitoring:history`, oldest first, one point every `interval_seconds` at most; gaps are gaps."""

    host: str
    interval_seconds: int
    points: list[HistoryPoint]


# ---- How gateways speak to agents -------------------------------------------------------------------------------


class Demand(Struct, frozen=True, rename="camel"):
    """Somebody watches and wants a sample this often. Holds for `DEMAND_SECONDS` and has to be said again."""

    interval_seconds: IntervalSeconds
