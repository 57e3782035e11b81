"""What this system is to reach, with every guarantee on, on two cores."""

from typing import Literal, NamedTuple


class Goal(NamedTuple):
    """A bound for one number."""

    kind: Literal["≤", "≥"]
    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound if self.kind == "≤" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:,.6g}"


def at_most(bound: float) -> Goal:
    return Goal("≤", bound)


def at_least(bound: float) -> Goal:
    return Goal("≥", bound)


# By the word before the colon in a load's name, and the metric.
GOALS = {
    ("W1", "CPU µs/token"): at_most(190),
    ("W1", "lost or repeated"): at_most(0),
    ("W2", "CPU µs/token"): at_most(80),
    ("W2", "first token ms p50"): at_most(6),
    ("W2", "first token ms p99"): at_most(20),
    ("W2", "token added ms p50"): at_most(0.8),
    ("W2", "token added ms p99"): at_most(5),
    ("W2", "question stored ms p50"): at_most(5),
    ("W2", "question stored ms p99"): at_most(20),
    ("W2", "lost or repeated"): at_most(0),
    ("W3", "CPU µs/token"): at_most(25),
    ("W3", "tokens/s"): at_least(50_000),
    ("W3", "lost or repeated"): at_most(0),
    ("W4", "token added ms p99"): at_most(50),
    ("W4", "lost or repeated"): at_most(0),
    ("fan-out sample", "ms p99"): at_most(25),
    ("fan-out sample", "CPU µs/delivery"): at_most(25),
    ("fan-out task", "ms p99"): at_most(25),
    ("fan-out task", "CPU µs/delivery"): at_most(25),
    ("task", "HTTP request to socket ms p50"): at_most(5),
    ("idle", "KiB/connection"): at_most(20),
    ("idle", "CPU µs/connect"): at_most(500),
    ("resume idle", "first missing text ms p99"): at_most(20),
    ("resume under W2", "first missing text ms p99"): at_most(100),
    ("start", "second start s"): at_most(5),
    ("start", "memory MiB"): at_most(350),
}


def goal_of(load: str, metric: str) -> Goal | None:
    return GOALS.get((load.partition(":")[0], metric))
