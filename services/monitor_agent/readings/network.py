"""Network interfaces: how much comes and goes."""

import time

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
            for name, count in psutil.net_io_counters(pernic=True, nowrap=False).items()
            if not _is_loopback(name) and not name.startswith(NEAR_ENDS)
        }
        now = time.monotonic()
        received = self._received.per_second({name: count.bytes_recv for name, count in counters.items()}, now)
        sent = self._sent.per_second({name: count.bytes_sent for name, count in counters.items()}, now)
        outer = [name for name in counters if not name.startswith(INNER)]
        return Network(
            rx=_sum(received, outer),
            tx=_sum(sent, outer),
            rx_total=sum(counters[name].bytes_recv for name in outer),
            tx_total=sum(counters[name].bytes_sent for name in outer),
            interfaces=[
                Interface(
                    name=printable(name),
                    rx=received[name],
                    tx=sent[name],
                    rx_total=count.bytes_recv,
                    tx_total=count.bytes_sent,
                )
                for name, count in sorted(counters.items())[:MOST_INTERFACES]
            ],
        )


def _is_loopback(name: str) -> bool:
    """`lo` on Linux, `lo0` on macOS."""
    return name.rstrip("0123456789") in LOOPBACK


def _sum(rates: dict[str, float | None], names: list[str]) -> float | None:
    known = [rate for name in names if (rate := rates[name]) is not None]
    return round(sum(known), 1) if known else None
