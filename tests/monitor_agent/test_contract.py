"""What the contract says about hosts: their names in subjects, and when they are late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contract import frames, monitoring, subjects
from libs.contract.monitoring import HostStatus, host_status

LIVE, STALE, GONE = HostStatus.LIVE, HostStatus.STALE, HostStatus.GONE


@pytest.mark.parametrize(
    ("age", "interval", "status"),
    [
        (-3600, 10, LIVE),
        (0, 10, LIVE),
        (24.9, 10, LIVE),
        (25, 10, STALE),
        (59.9, 10, STALE),
        (60, 10, GONE),
        (6.9, 1, LIVE),
        (7, 1, STALE),
        (60, 1, GONE),
        (124, 60, LIVE),
        (125, 60, STALE),
        (359, 60, STALE),
        (360, 60, GONE),
        (1e9, 60, GONE),
    ],
)
def test_a_host_is_late_by_its_own_promise(age: float, interval: float, status: HostStatus) -> None:
    """One lost sample is no reason to alarm anybody; a clock that differs is none either."""
    assert host_status(age, interval) is status


@given(st.floats(0, 1e6), st.integers(1, 60))
def test_a_host_is_never_gone_before_it_is_stale(age: float, interval: int) -> None:
    """Whatever the interval."""
    assert monitoring.stale_after(interval) < monitoring.gone_after(interval)
    assert (host_status(age, interval) is LIVE) == (age < monitoring.stale_after(interval))


@given(st.text(min_size=1, max_size=255).filter(lambda name: name.isprintable()))
def test_every_name_of_a_host_is_one_token_of_a_subject_and_can_be_read_back(host: str) -> None:
    """Dots and all."""
    subject = subjects.monitoring_sampled(host)
    assert subject.count(".") == 4
    assert subjects.host_of(subject.split(".")[3]) == host


@pytest.mark.parametrize(
    ("host", "token"), [("web-1", "web-1"), ("web-1.example", "web-1_2Eexample"), ("a_b", "a_5Fb")]
)
def test_usual_names_stay_readable(host: str, token: str) -> None:
    """In logs and in the tools of NATS."""
    assert subjects.host_token(host) == token


def test_different_hosts_never_share_a_subject() -> None:
    """Not even when one name looks like the other's token."""
    assert subjects.host_token("a.b") != subjects.host_token("a_2Eb")


def test_a_host_without_a_name_has_no_subject() -> None:
    """It would be the subject of nothing, or of all."""
    with pytest.raises(ValueError, match="a host has a name"):
        subjects.monitoring_sampled("")


def test_wildcards_of_the_contract_match_what_it_spells() -> None:
    """Gateways and the stream listen by these."""
    assert subjects.monitoring_sampled("h").replace(".h.", ".*.") == subjects.MONITORING_SAMPLED_ALL
    assert subjects.monitoring_query("q").removesuffix("q") + "*" == subjects.MONITORING_QUERY_ALL


def test_fields_are_named_as_existing_clients_know_them() -> None:
    """Down to the last capital."""
    cpu = monitoring.Cpu(usage=1.5, cores=1, per_core=[None], frequency_mhz=None, temperature=None)
    assert frames.encode("x", cpu) == (
        b'{"type":"x","data":{"usage":1.5,"cores":1,"perCore":[null],"frequencyMhz":null,"temperature":null}}'
    )
