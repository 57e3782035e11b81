"""File systems on disks, how full they are, and how much is read and written.

Only what lies on a disk of this machine: a network file system that has gone away would block whoever looks at it.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from libs.contract.monitoring import Disk, Mount
from services.monitor_agent.readings.names import printable
from services.monitor_agent.readings.rates import Rates, percent

# Images that are mounted to be read: always full, and of no interest.
READ_ONLY_IMAGES = {"squashfs", "iso9660", "udf", "erofs", "cramfs"}
# Devices that stand on other devices: what they read and write is counted there.
STACKED = ("dm-", "md", "loop", "ram", "zram", "sr", "fd", "nbd")
MOST_MOUNTS = 32
BLOCK_DEVICES = Path("/sys/block")


class Partition(NamedTuple):
    """One mounted file system."""

    device: str
    mountpoint: str
    fstype: str


class DisksReading:
    """Made once; made, it has taken its first look. `host_root`: where the root of the host's files is mounted."""

    def __init__(self, host_root: Path = Path("/")) -> None:
        self._host_root = host_root
        self._reads = Rates()
        self._writes = Rates()
        self._mounts: list[Mount] = []
        self._root: tuple[int, int, int] | None = None
        self.look_slowly()
        self.read()

    def look_slowly(self) -> None:
        """What is mounted, and how full it is."""
        self._root = _usage(self._host_root)
        mounted = [Partition(each.device, each.mountpoint, each.fstype) for each in psutil.disk_partitions(all=False)]
        self._mounts = [_mount(partition, self._host_root) for partition in shown(mounted, self._host_root)]

    def read(self) -> tuple[Disk, list[Mount]]:
        """The root with the rates of all physical disks, and each mount with those of its device."""
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        now = time.monotonic()
        reads = self._reads.per_second({name: count.read_bytes for name, count in counters.items()}, now)
        writes = self._writes.per_second({name: count.write_bytes for name, count in counters.items()}, now)
        physical = [name for name in counters if _is_physical(name)]
        total, used, free = self._root or (None, None, None)
        root = Disk(
            total=total,
            used=used,
            free=free,
            used_percent=_used_percent(self._root),
            read_rate=_sum(reads[name] for name in physical),
            write_rate=_sum(writes[name] for name in physical),
        )
        return root, [_with_rates(mount, reads, writes) for mount in self._mounts]


def shown(partitions: Iterable[Partition], host_root: Path = Path("/")) -> list[Partition]:
    """One mount for each device, the one with the shortest path: containers mount parts of it in many places."""
    chosen: dict[str, Partition] = {}
    for partition in sorted(partitions, key=lambda each: (len(each.mountpoint), each.mountpoint)):
        path = Path(partition.mountpoint)
        if partition.fstype not in READ_ONLY_IMAGES and path.is_relative_to(host_root) and path.is_dir():
            chosen.setdefault(partition.device, partition)
    return sorted(chosen.values(), key=lambda each: each.mountpoint)[:MOST_MOUNTS]


def _mount(partition: Partition, host_root: Path) -> Mount:
    path = Path(partition.mountpoint)
    usage = _usage(path)
    total, used, free = usage or (None, None, None)
    return Mount(
        mount=printable(str("/" / path.relative_to(host_root))),
        device=printable(partition.device),
        file_system=partition.fstype,
        total=total,
        used=used,
        free=free,
        used_percent=_used_percent(usage),
        read_rate=None,
        write_rate=None,
    )


def _usage(path: Path) -> tuple[int, int, int] | None:
    """Total, used and free bytes."""
    try:
        usage = psutil.disk_usage(str(path))
    except OSError:
        return None
    return usage.total, usage.used, usage.free


def _used_percent(usage: tuple[int, int, int] | None) -> float | None:
    """Of what users may have: file systems keep a part for the administrator."""
    return None if usage is None else percent(usage[1], usage[1] + usage[2])


def _with_rates(mount: Mount, reads: dict[str, float | None], writes: dict[str, float | None]) -> Mount:
    # /dev/mapper/root is a link to /dev/dm-0, and the counters go by that name.
    name = Path(mount.device).resolve().name
    return Mount(
        mount=mount.mount,
        device=mount.device,
        file_system=mount.file_system,
        total=mount.total,
        used=mount.used,
        free=mount.free,
        used_percent=mount.used_percent,
        read_rate=reads.get(name),
        write_rate=writes.get(name),
    )


def _is_physical(name: str) -> bool:
    """A whole disk and not a partition of it, as Linux names them; elsewhere psutil names whole disks only."""
    return not name.startswith(STACKED) and (not BLOCK_DEVICES.exists() or (BLOCK_DEVICES / name).exists())


def _sum(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(sum(known), 1) if known else None
