"""What a prober noted is judged by the faults of that time."""

from tests.chaos import outages
from tests.chaos.journal import Fault, Journal
from tests.chaos.room import Room
from tests.chaos.watching import Probe, Prober


def judged(faults: list[Fault], probes: list[Probe]) -> list[str]:
    """Every promise that these probes show to be broken."""
    return [broken.what for broken in journal_of(faults, probes).violations]


def journal_of(faults: list[Fault], probes: list[Probe]) -> Journal:
    journal = Journal(faults=faults)
    prober = Prober(Room({}, journal, resume=True), {})
    prober.probes += probes
    outages.judge(journal, prober, single_nats=True)
    return journal


def probe(at: float, code: str | None, seconds: float = 0.1) -> Probe:
    return Probe("gateway-1", at, seconds, code, retryable=True)


def test_valkey_may_be_away_and_nobody_notices() -> None:
    """An error or a long wait is a broken promise; before and after it they have other reasons."""
    away = Fault(100, "valkey", "valkey", "away", lifted_at=120, ended_at=121)
    assert judged([away], [probe(90, "busy"), probe(110, ""), probe(130, "busy")]) == []
    assert len(judged([away], [probe(110, "service_unavailable"), probe(112, "", 5.0)])) == 2


def test_two_outages_at_once_prove_nothing() -> None:
    """Whatever went wrong may be the other's."""
    away = Fault(100, "valkey", "valkey", "away", lifted_at=120, ended_at=121)
    frozen = Fault(109, "chat_worker", "chat_worker-1", "freeze", lifted_at=115, ended_at=115)
    assert judged([away, frozen], [probe(110, "service_unavailable")]) == []


def test_nats_away_has_to_be_said_at_once() -> None:
    """By its own code, and within seconds."""
    wiped = Fault(100, "nats", "nats-1", "wipe", lifted_at=104, ended_at=106)
    back = probe(107, "")
    assert judged([wiped], [probe(102, "bus_unavailable"), back]) == []
    assert any("answered 'internal'" in what for what in judged([wiped], [probe(102, "internal"), back]))


def test_a_broken_promise_stands_where_it_was_broken_although_all_is_judged_at_the_end() -> None:
    """The story that is told of it is then the one of that time, and not that of the end of the run."""
    away = Fault(100, "valkey", "valkey", "away", lifted_at=120, ended_at=121)
    wiped = Fault(200, "nats", "nats-1", "wipe", lifted_at=204, ended_at=206)
    found = journal_of([away, wiped], [probe(110, "", 5.0), probe(202, "internal"), probe(207, "")])
    assert [(broken.since, broken.at) for broken in found.violations] == [(100, 115), (200, 202.1)]
    assert [entry.at for entry in found.entries] == [115, 202.1]
