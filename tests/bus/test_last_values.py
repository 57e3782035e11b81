"""The last message of each subject, for whoever comes late."""

import asyncio

import pytest

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.last_values import last_value, last_values
from libs.bus.streams import provision
from libs.contract import streams, subjects
from tests.brokers import Server
from tests.waiting import until

ONE = subjects.monitoring_sampled("one.example")
TWO = subjects.monitoring_sampled("two")


async def stored(bus: Bus, *messages: tuple[str, bytes]) -> None:
    """Publishes, and waits until the stream has them."""
    for subject, payload in messages:
        await bus.jetstream().publish(subject, payload)


async def test_only_the_last_message_of_each_subject_is_kept(bus: Bus) -> None:
    """With how long ago that was."""
    await stored(bus, (ONE, b"1"), (TWO, b"2"), (ONE, b"3"))
    last = await last_value(bus, streams.MONITORING, ONE)
    assert last is not None
    assert (last.subject, last.payload) == (ONE, b"3")
    assert 0 <= last.age_seconds < 5
    assert [(value.subject, value.payload) for value in await last_values(bus, streams.MONITORING)] == [
        (ONE, b"3"),
        (TWO, b"2"),
    ]


async def test_a_subject_that_nobody_has_spoken_on_has_no_last_message(bus: Bus) -> None:
    """None, and not a wait for the first."""
    assert await last_value(bus, streams.MONITORING, ONE) is None
    assert await last_values(bus, streams.MONITORING) == []


async def test_last_messages_outlive_a_crash_of_nats(bus: Bus, nats: Server) -> None:
    """The stream is on disk: in memory, it would itself be gone, and nothing would be kept until someone provisions."""
    await stored(bus, (ONE, b"1"))
    nats.kill()
    await until(lambda: not bus.connected)
    nats.start()
    await until(lambda: bus.connected)
    last = await last_value(bus, streams.MONITORING, ONE)
    assert last is not None
    assert last.payload == b"1"


async def test_a_stream_that_was_never_provisioned_is_named(nats: Server) -> None:
    """With what to do about it."""
    async with connect(nats.url, name="test") as bus:
        for reading in (last_value(bus, streams.MONITORING, ONE), last_values(bus, streams.MONITORING)):
            with pytest.raises(BusUnavailable, match="MONITORING is missing: run the provisioning step"):
                await reading


async def test_provisioning_again_keeps_what_is_there(bus: Bus) -> None:
    """As every start of the stack does, sometimes two at once."""
    await stored(bus, (ONE, b"1"))
    await asyncio.gather(provision(bus, streams.ALL), provision(bus, streams.ALL))
    last = await last_value(bus, streams.MONITORING, ONE)
    assert last is not None
    assert last.payload == b"1"
