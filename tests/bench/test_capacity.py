"""What a number of people needs is arithmetic, which can be done by hand."""

from typing import Any

import pytest

from bench.capacity import Person, costs_of, foretold, need


def result(**loads: dict[str, float]) -> dict[str, Any]:
    rows = [
        {
            "load": f"{load.replace('_', ' ').replace('fan out', 'fan-out')}: x",
            "metric": metric,
            "peer": peer,
            "median": value,
        }
        for load, metrics in loads.items()
        for metric, value in metrics.items()
        for peer in ("ours", "monolith")
    ]
    return {"rows": rows}


MEASURED = result(
    W1={"CPU µs/token": 400, "… gateway": 100, "… chat_worker": 200, "… nats": 100},
    W2={"CPU µs/token": 200, "… gateway": 60, "… chat_worker": 120, "… nats": 20},
    fan_out_sample={"CPU µs/delivery": 20},
    idle={"CPU µs/connect": 1000, "KiB/connection": 32},
)


def test_the_need_grows_with_the_people_and_no_process_is_too_busy() -> None:
    """Ten thousand people who ask for 36 tokens a second each hundred: 3,600 tokens a second."""
    person = Person(answers_per_hour=6, tokens_per_answer=216, updates_per_minute=6, reconnects_per_hour=3.6)
    found = need(10_000, person, costs_of(MEASURED))
    assert found.tokens_per_second == pytest.approx(3600)
    assert found.cores == pytest.approx({"gateway": 0.216 + 0.02 + 0.01, "chat_worker": 0.432, "nats": 0.072})
    assert found.processes == {"gateway": 1, "chat_worker": 1, "nats": 1}
    assert need(100_000, person, costs_of(MEASURED)).processes == {"gateway": 5, "chat_worker": 8, "nats": 2}
    assert found.gateway_memory_gib == pytest.approx(10_000 * 32 / 1024**2)


def test_other_loads_of_the_run_are_foretold_and_compared() -> None:
    """W1 is measured dearer than W2 says: tokens that come alone share nothing."""
    assert foretold(MEASURED) == [("W1", 200, 400)]
