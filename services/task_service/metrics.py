"""What Prometheus is told of a task service."""

from prometheus_client import Counter, Gauge

COMMANDS = Counter("task_service_commands", "Commands carried out, by verb", ["verb"])
REFUSALS = Counter("task_service_refusals", "Commands that were not, by verb and error code", ["verb", "code"])
PUBLISHED = Counter("task_service_updates_published", "task:update frames handed to the bus and taken by it")
PUBLISH_FAILURES = Counter("task_service_publish_failures", "Tries to publish that failed and are repeated")
BUS_RECONNECTS = Gauge("task_service_bus_reconnects", "How often the connection to NATS came back")
