"""What Prometheus can ask of a monitor agent about itself; about its host it is asked over the bus."""

from prometheus_client import Counter, Gauge, Histogram

SAMPLES = Counter("monitor_agent_samples", "Samples taken, by what became of them", ["result"])
SAMPLE_SECONDS = Histogram(
    "monitor_agent_sample_seconds",
    "How long it took to take one sample",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
INTERVAL_SECONDS = Gauge("monitor_agent_interval_seconds", "Seconds to the next sample")
HISTORY_WAITING = Gauge("monitor_agent_history_points_waiting", "Points of history that wait for Valkey")
QUESTIONS = Counter("monitor_agent_questions", "Questions answered, by name", ["name"])
BUS_RECONNECTS = Gauge("monitor_agent_bus_reconnects", "How often the connection to NATS came back")
