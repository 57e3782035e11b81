"""What the prober noted, judged: refused at once while NATS was away, everything well again soon after its return."""

from tests.chaos.journal import Fault, Journal, Promise
from tests.chaos.watching import Probe, Prober

# "At once", on a machine that is busy; and how long a gateway may take to notice that NATS has died.
AT_ONCE_SECONDS = 3.0
NOTICE_SECONDS = 1.0
# Promised are 5 s; the rest is for a machine that is busy.
RECOVERY_SECONDS = 7.0
STARTING_SECONDS = 5.0
OUTAGES = {
    *(("nats", action) for action in ("kill", "restart", "freeze", "wipe")),
    *(("database", action) for action in ("kill", "freeze")),
}
OTHERS = ("chat_worker", "database", "nats")


def judge(journal: Journal, prober: Prober, *, single_nats: bool) -> None:
    """Promise 7, where nothing else was wrong at the same time."""
    for fault in journal.faults:
        if fault.kind == "valkey":
            _judge_indifference(journal, fault, prober.probes)
        if (fault.kind, fault.action) not in OUTAGES or fault.lifted_at is None or fault.ended_at is None:
            continue
        for gateway in {probe.gateway for probe in prober.probes}:
            probes = [probe for probe in prober.probes if probe.gateway == gateway]
            if fault.kind == "nats" and fault.action != "freeze" and single_nats:
                _judge_refusals(journal, fault, gateway, probes)
            _judge_recovery(journal, fault, gateway, probes)
    for gateway, at in prober.closed:
        if not journal.hit(at - 60, at, targets={gateway}):
            journal.broken(
                Promise.DEPENDENCIES_AWAY, f"{gateway} closed a connection by itself", about=gateway, since=at, at=at
            )


def _judge_refusals(journal: Journal, fault: Fault, gateway: str, probes: list[Probe]) -> None:
    assert fault.lifted_at is not None
    for probe in probes:
        if not fault.at + NOTICE_SECONDS < probe.sent_at < fault.lifted_at - probe.seconds:
            continue
        if _disturbed(journal, fault, gateway, fault.at - 1, probe.sent_at + probe.seconds):
            continue
        journal.took("NATS away: refused", probe.seconds)
        if probe.code != "bus_unavailable" or not probe.retryable or probe.seconds > AT_ONCE_SECONDS:
            text = f"NATS away, {gateway} answered {probe.code!r} after {probe.seconds:.1f} s"
            answered_at = probe.sent_at + probe.seconds
            journal.broken(Promise.DEPENDENCIES_AWAY, text, about=gateway, since=fault.at, at=answered_at)


def _judge_indifference(journal: Journal, fault: Fault, probes: list[Probe]) -> None:
    """Valkey holds only what may be lost: without it everything works."""
    for probe in probes:
        answered_at = probe.sent_at + probe.seconds
        if probe.sent_at < fault.at or (fault.ended_at is not None and probe.sent_at > fault.ended_at):
            continue
        if _disturbed(journal, fault, probe.gateway, probe.sent_at - STARTING_SECONDS, answered_at):
            continue
        journal.took("Valkey away: answered all the same", probe.seconds)
        if probe.code != "" or probe.seconds > AT_ONCE_SECONDS:
            text = f"Valkey away, {probe.gateway} answered {probe.code!r} after {probe.seconds:.1f} s"
            journal.broken(Promise.DEPENDENCIES_AWAY, text, about=probe.gateway, since=fault.at, at=answered_at)


def _judge_recovery(journal: Journal, fault: Fault, gateway: str, probes: list[Probe]) -> None:
    assert fault.ended_at is not None
    # Ready again, as the server itself says.
    back = fault.ended_at
    well = next((probe for probe in probes if probe.sent_at > fault.at and probe.code == ""), None)
    if well is not None:
        recovered = max(back, well.sent_at + well.seconds)
        if not _disturbed(journal, fault, gateway, fault.at - 1, recovered):
            journal.took(f"recovery after {fault.kind} {fault.action}", recovered - back)
    late = back + RECOVERY_SECONDS
    tried = any(probe.sent_at > back for probe in probes) and journal.now() > late
    in_time = well is not None and well.sent_at + well.seconds <= late
    if tried and not in_time and not _disturbed(journal, fault, gateway, fault.at - 1, late):
        text = f"{fault.kind} was back, and {gateway} did not work within {RECOVERY_SECONDS:g} s"
        journal.broken(Promise.DEPENDENCIES_AWAY, text, about=gateway, since=fault.at, at=late)


def _disturbed(journal: Journal, fault: Fault, gateway: str, since: float, until: float) -> bool:
    """Something else was wrong as well, so that this outage alone explains nothing."""
    return any(other is not fault and _concerns(other, gateway, since, until) for other in journal.faults)


def _concerns(fault: Fault, gateway: str, since: float, until: float) -> bool:
    near = fault.kind in OTHERS or fault.target in (gateway, f"{gateway}=nats")
    if not near and not (fault.kind == "bus_link" and fault.target.startswith("chat_worker")):
        return False
    # What was killed or told to stop is still starting when it has been started.
    starting = STARTING_SECONDS if fault.action in ("kill", "restart") else 0
    return fault.at <= until and (fault.ended_at is None or fault.ended_at + starting >= since)
