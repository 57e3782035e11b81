"""What Prometheus can ask of a gateway."""

from collections import Counter as Counts
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

CONNECTIONS = Gauge("gateway_connections", "WebSocket connections that are open")
SEND_QUEUE_BYTES = Gauge("gateway_send_queue_bytes", "Bytes that wait for clients to read them")
CLIENT_TASKS = Gauge("gateway_client_tasks", "Questions and wishes of clients that are being answered")
SUBSCRIPTIONS = Gauge("gateway_subscriptions", "What connections follow, each counted for each of them")
TOPICS = Gauge("gateway_topics", "Hosts and tasks that this gateway listens to on the bus")
FRAMES_IN = Counter("gateway_frames_in", "Frames from clients", ["type"])
ERRORS_OUT = Counter("gateway_errors_out", "Error frames made by this gateway", ["code"])
CLOSED = Counter("gateway_connections_closed", "Connections that this gateway closed itself", ["code"])
REPLIES_DROPPED = Counter("gateway_replies_dropped", "Replies for connections that were gone")
WATCHED = Gauge(
    "gateway_answers_watched", "Unfinished answers that connections wait for, each counted for each of them"
)
REPAIRS = Counter("gateway_repairs", "Questions for what may be missing of an answer, by reason", ["reason"])
PIECES_DROPPED = Counter("gateway_pieces_dropped", "Pieces of answers not forwarded: seen before, or out of order")
BUS_RECONNECTS = Gauge("gateway_bus_reconnects", "How often the connection to NATS came back")

FRAMES_OUT: Counts[str] = Counts()
"""By type. Counted once a frame, so without the library's lock: 0.1 µs instead of 6."""


class _FramesOut(Collector):
    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily("gateway_frames_out", "Frames queued for clients", labels=["type"])
        for frame_type, count in FRAMES_OUT.items():
            family.add_metric([frame_type], count)
        return [family]


REGISTRY.register(_FramesOut())
