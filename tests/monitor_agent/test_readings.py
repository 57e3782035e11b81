"""What is read from the operating system: differences, and null where nothing is known."""

import os
from pathlib import Path

import psutil
import pytest

from services.monitor_agent.readings import memory
from services.monitor_agent.readings.cpu import CpuReading, temperature
from services.monitor_agent.readings.disks import DisksReading, Partition, shown
from services.monitor_agent.readings.names import printable
from services.monitor_agent.readings.network import Bytes, counted
from services.monitor_agent.readings.rates import Rates, percent


def test_a_rate_is_the_growth_of_a_counter_per_second() -> None:
    """Each counter for itself; those that have gone are forgotten."""
    rates = Rates()
    assert rates.per_second({"a": 1000, "b": 5}, now=10) == {"a": None, "b": None}
    assert rates.per_second({"a": 1500, "c": 7}, now=12) == {"a": 250.0, "c": None}
    assert rates.per_second({"a": 1500, "b": 9, "c": 8}, now=14) == {"a": 0.0, "b": None, "c": 0.5}


def test_a_counter_that_starts_again_has_no_rate() -> None:
    """Null, and not a huge negative number."""
    rates = Rates()
    rates.per_second({"a": 1000}, now=0)
    assert rates.per_second({"a": 10}, now=1) == {"a": None}
    assert rates.per_second({"a": 20}, now=1) == {"a": None}


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 3, 33.3), (0, 3, 0.0), (5, 4, 100.0), (-1, 4, 0.0), (0, 0, None)]
)
def test_percentages_lie_between_0_and_100_and_nothing_has_none(
    part: float, whole: float, expected: float | None
) -> None:
    """A machine without swap uses not 0 % of it."""
    assert percent(part, whole) == expected


def test_the_cpu_usage_is_that_of_the_time_since_the_look_before() -> None:
    """Busy for a moment, it shows; two looks in the same tick of the clock have nothing to compare."""
    reading = CpuReading()
    started = psutil.Process().cpu_times()
    # Without a pause between two looks: on a quiet machine that would be all the work there is.
    while psutil.Process().cpu_times().user - started.user < 0.2:
        sum(range(20_000))
    cpu = reading.read()
    assert cpu.usage is not None
    assert cpu.usage > 5
    assert len(cpu.per_core) == cpu.cores == psutil.cpu_count()
    assert all(core is not None and 0 <= core <= 100 for core in cpu.per_core)
    unchanged = reading.read()
    assert unchanged.usage is None or unchanged.usage >= 0


def chip(folder: Path, name: str, sensors: dict[str, str]) -> None:
    """A sensor chip, as Linux shows it."""
    folder.mkdir(parents=True)
    for file, content in {"name": name, **sensors}.items():
        (folder / file).write_text(f"{content}\n")


def test_the_temperature_is_that_of_the_whole_processor(tmp_path: Path) -> None:
    """The hottest of several; a hotter disk is none."""
    package = {"temp1_label": "Package id 0", "temp1_input": "51000", "temp2_label": "Core 0", "temp2_input": "58000"}
    chip(tmp_path / "hwmon0", "nvme", {"temp1_input": "90000"})
    chip(tmp_path / "hwmon1", "coretemp", package)
    chip(tmp_path / "hwmon2", "coretemp", {"temp1_label": "Package id 1", "temp1_input": "52500"})
    assert temperature(tmp_path) == 52.5


def test_without_a_sensor_there_is_no_temperature(tmp_path: Path) -> None:
    """Null, never 0: no folder, no chip of a processor, or one that tells nothing."""
    assert temperature(tmp_path / "nothing") is None
    assert temperature(tmp_path) is None
    chip(tmp_path / "hwmon0", "nvme", {"temp1_input": "40000"})
    chip(tmp_path / "hwmon1", "k10temp", {"temp1_input": "unknown"})
    assert temperature(tmp_path) is None


def test_a_sensor_without_a_label_counts(tmp_path: Path) -> None:
    """As on small ARM machines."""
    chip(tmp_path / "hwmon0", "cpu_thermal", {"temp1_input": "47712"})
    assert temperature(tmp_path) == 47.7


def test_each_disk_is_shown_once_and_images_not_at_all(tmp_path: Path) -> None:
    """Containers mount single files and parts of a disk again; images are always full."""
    data, other, image, deep = (tmp_path / name for name in ("data", "other", "image", "data/deep"))
    for folder in (data, other, image, deep):
        folder.mkdir()
    file = tmp_path / "resolv.conf"
    file.touch()
    partitions = [
        Partition("/dev/sdb1", str(other), "xfs"),
        Partition("/dev/sda1", str(deep), "ext4"),
        Partition("/dev/sda1", str(data), "ext4"),
        Partition("/dev/sdc1", str(file), "ext4"),
        Partition("/dev/loop1", str(image), "squashfs"),
    ]
    assert shown(partitions) == [partitions[2], partitions[0]]


def test_in_a_container_only_what_is_mounted_under_the_root_of_the_host_is_shown(tmp_path: Path) -> None:
    """The container's own mounts are none of the host's."""
    root, data, own = (tmp_path / name for name in ("host", "host/data", "own"))
    for folder in (root, data, own):
        folder.mkdir()
    partitions = [
        Partition("/dev/sda1", str(own), "ext4"),
        Partition("/dev/sdb1", str(data), "xfs"),
        Partition("/dev/sda1", str(root), "ext4"),
    ]
    assert shown(partitions, root) == [partitions[2], partitions[1]]


def test_the_disk_is_that_of_the_root_of_the_host(tmp_path: Path) -> None:
    """Its size is known also where the container's own root is another file system."""
    disk, _ = DisksReading(tmp_path).read()
    assert disk.total == psutil.disk_usage(str(tmp_path)).total


def test_the_interfaces_are_those_of_process_1(tmp_path: Path) -> None:
    """A container has a network of its own, and only sees the host's there."""
    file = tmp_path / "dev"
    heading = "Inter-|   Receive  |  Transmit\n face |bytes packets errs |bytes packets\n"
    file.write_text(f"{heading}    lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n eth0:1500 2 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n")
    assert counted(file) == {"lo": Bytes(7, 7), "eth0": Bytes(1500, 99)}


def test_where_process_1_cannot_be_seen_the_interfaces_are_the_own_ones(tmp_path: Path) -> None:
    """As on macOS."""
    assert counted(tmp_path / "none").keys() == psutil.net_io_counters(pernic=True).keys()


def test_memory_adds_up() -> None:
    """Used is what is not available, as people mean it."""
    now = memory.memory()
    assert 0 < now.available <= now.total
    assert now.used_percent is not None
    assert now.used_percent == pytest.approx(100 * (1 - now.available / now.total), abs=0.1)
    swap = memory.swap()
    assert (swap.used_percent is None) == (swap.total == 0)


def test_names_that_are_no_text_can_be_sent_all_the_same() -> None:
    """Linux lets programs and mounts have any bytes for a name."""
    assert printable(os.fsdecode(b"caf\xe9")) == "caf\N{REPLACEMENT CHARACTER}"
    assert printable("máquina") == "máquina"
