"""Network interfaces: how much comes and goes.

On Linux those that process 1 has: an agent in a container that sees the host's processes sees the host's network too,
and not only the container's own end of it.
"""

import time
from pathlib import Path
from typing import NamedTuple

import psutil

from libs.contract.monitoring import Interface, Network
from services.monitor_agent.readings.names import printable
from services.monitor_agent.readings.rates import Rates

LOOPBACK = ("lo",)
# The same packets pass an interface to the outside too, or never leave the machine.
INNER = ("docker", "br-", "bridge", "virbr", "vmnet", "tap", "cni", "flannel", "cali", "lxc")
# Near ends of containers, which come and go by the hundred, and queues of the kernel's.
NEAR_ENDS = ("veth", "ifb")
MOST_INTERFACES = 32
# As proc_pid_net(5) has it: a line for each interface, `name: ` and 16 counters.
OF_PROCESS_1 = Path("/proc/1/net/dev")
RECEIVED_BYTES, SENT_BYTES = 0, 8


class Bytes(NamedTuple):
    """What an interface has carried since it is there."""

    received: int
    sent: int


class NetworkReading:
    """Made once; made, it has taken its first look."""

    def __init__(self) -> None:
        self._received = Rates()
        self._sent = Rates()
        self.read()

    def read(self) -> Network:
        """Everything since the read before."""
        counters = {
            name: count
            for name, count in counted().items()
            if not _is_loopback(name) and not name.startswith(NEAR_ENDS)
        }
        now = time.monotonic()
        received = self._received.per_second({name: count.received for name, count in counters.items()}, now)
        sent = self._sent.per_second({name: count.sent for name, count in counters.items()}, now)
        outer = [name for name in counters if not name.startswith(INNER)]
        return Network(
            rx=_sum(received, outer),
            tx=_sum(sent, outer),
            rx_total=sum(counters[name].received for name in outer),
            tx_total=sum(counters[name].sent for name in outer),
            interfaces=[
                Interface(
                    name=printable(name),
                    rx=received[name],
                    tx=sent[name],
                    rx_total=count.received,
                    tx_total=count.sent,
                )
                for name, count in sorted(counters.items())[:MOST_INTERFACES]
            ],
        )


def counted(of_process_1: Path = OF_PROCESS_1) -> dict[str, Bytes]:
    """All interfaces, by name."""
    try:
        lines = of_process_1.read_text(encoding="utf-8").splitlines()[2:]
    except OSError:
        counters = psutil.net_io_counters(pernic=True, nowrap=False)
        return {name: Bytes(count.bytes_recv, count.bytes_sent) for name, count in counters.items()}
    named = {name.strip(): counters.split() for name, _, counters in (line.rpartition(":") for line in lines)}
    return {name: Bytes(int(each[RECEIVED_BYTES]), int(each[SENT_BYTES])) for name, each in named.items()}


def _is_loopback(name: str) -> bool:
    """`lo` on Linux, `lo0` on macOS."""
    return name.rstrip("0123456789") in LOOPBACK


def _sum(rates: dict[str, float | None], names: list[str]) -> float | None:
    known = [rate for name in names if (rate := rates[name]) is not None]
    return round(sum(known), 1) if known else None
