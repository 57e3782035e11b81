"""What Prometheus can ask of a chat worker."""

from prometheus_client import Counter, Gauge, Histogram

RUNNING = Gauge("chat_worker_generations_running", "Answers that this worker is generating now")
REQUESTS_IN_HAND = Gauge("chat_worker_requests_in_hand", "Requests pulled from the queue and not yet ended")
GENERATIONS = Counter("chat_worker_generations", "Answers that ended here, by how", ["state"])
TIME_TO_FIRST_TOKEN = Histogram(
    "chat_worker_time_to_first_token_seconds",
    "From asking the model server to its first piece of text",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
COMPLETION_TOKENS = Counter("chat_worker_completion_tokens", "Tokens generated, as the model server counts them")
QUESTIONS = Counter("chat_worker_questions", "Questions answered, by name", ["name"])
BUS_RECONNECTS = Gauge("chat_worker_bus_reconnects", "How often the connection to NATS came back")
