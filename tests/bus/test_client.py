"""The short way of tokens: nothing waits alone, nothing changes places, nothing harms the connection."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvloop

from libs.bus.connection import MAX_WAITING_BYTES, Bus, BusUnavailable, connect
from tests.brokers import Server
from tests.waiting import until


@pytest.fixture
def listener(nats: Server) -> Iterator[socket.socket]:
    """Somebody who hears `test.v1.>` without any event loop."""
    port = int(nats.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b'CONNECT {"verbose":false}\r\nSUB test.v1.> 1\r\nPING\r\n')
        while b"PONG" not in connection.recv(65536):
            pass
        yield connection


async def test_a_message_that_comes_alone_leaves_at_once(bus: Bus, listener: socket.socket) -> None:
    """It is heard although the event loop has not turned since: no timer, no queue, no task was waited for."""
    await bus.publish("test.v1.alone", b"hello")
    assert listener.recv(65536) == b"MSG test.v1.alone 1 5\r\nhello\r\n"


async def test_messages_in_quick_succession_are_heard_in_order_and_none_is_kept_back(bus: Bus) -> None:
    """Also the last ones, behind which nothing comes."""
    heard: list[bytes] = []
    async with bus.listening("test.v1.quick", lambda _, payload: heard.append(payload)):
        for count in (1, 2, 3, 5, 50, 503):
            heard.clear()
            said = [b"%d" % number for number in range(count)]
            for payload in said:
                await bus.publish("test.v1.quick", payload)
            await until(lambda count=count: len(heard) == count)  # type: ignore[misc]
            assert heard == said


async def test_a_question_does_not_overtake_what_was_said_before_it(bus: Bus) -> None:
    """Whoever has an answer may rely on it: the task service does, when it marks changes as published."""
    heard: list[bytes] = []

    async def answer(_: str, payload: bytes) -> bytes:
        heard.append(payload)
        return b"%d" % len(heard)

    async with bus.serving("test.v1.order", answer, at_once=1):
        for number in range(7):
            await bus.publish("test.v1.order", b"%d" % number)
        assert await bus.request("test.v1.order", b"question", timeout=5) == b"8"
    assert heard == [*(b"%d" % number for number in range(7)), b"question"]


async def test_what_waits_for_company_leaves_before_the_connection_is_closed(bus: Bus, listener: socket.socket) -> None:
    """A worker's last words are not lost because it said them quickly."""
    for _ in range(3):
        await bus.publish("test.v1.last", b"word")
    await bus._client.close()
    heard = b""
    while heard.count(b"word") < 3:
        heard += await asyncio.to_thread(listener.recv, 65536)


@pytest.mark.parametrize("subject", ["", "two words", "test.v1.x 5\r\nhello\r\nPUB test.v1.y", "tab\tbed"])
async def test_a_subject_that_is_none_is_refused_and_the_connection_lives(bus: Bus, subject: str) -> None:
    """On the wire it would be another command, and NATS would hang up."""
    with pytest.raises(BusUnavailable):
        await bus.publish(subject, b"")
    await bus.ping()
    assert bus.interruptions == 0


def test_what_is_said_while_nats_dies_raises_nothing_but_bus_unavailable(nats: Server) -> None:
    """uvloop, which production runs, closes a socket that was reset before nats-py hears of it."""
    refused = 0

    async def talk(bus: Bus) -> None:
        nonlocal refused
        while True:
            try:
                await bus.publish("test.v1.talk", b"x" * 300)
            except BusUnavailable:
                refused += 1
            await asyncio.sleep(0.002)

    async def scenario() -> None:
        async with connect(nats.url, name="test") as bus, asyncio.timeout(40):
            talkers = [asyncio.create_task(talk(bus)) for _ in range(50)]
            for deaths in range(1, 21):
                await until(lambda: bus.connected)
                await bus.ping()
                await asyncio.to_thread(nats.kill)
                await until(lambda: not bus.connected)
                await asyncio.to_thread(nats.start)
                await until(lambda deaths=deaths: bus.reconnects >= deaths)  # type: ignore[misc]
            for talker in talkers:
                talker.cancel()
            ends = await asyncio.gather(*talkers, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}

    uvloop.run(scenario())


async def test_a_subscription_that_was_left_while_nats_was_away_stays_left(bus: Bus, nats: Server) -> None:
    """nats-py takes all that it has with it into the next connection."""
    heard: list[bytes] = []
    async with bus.listening("test.v1.left", lambda _, payload: heard.append(payload)):
        nats.kill()
        await until(lambda: not bus.connected)
    nats.start()
    await until(lambda: bus.connected)
    async with bus.listening("test.v1.>", lambda _, payload: heard.append(payload)):
        await bus.publish("test.v1.left", b"once")
        await bus.publish("test.v1.other", b"end")
        await until(lambda: b"end" in heard)
    assert heard == [b"once", b"end"]


async def test_what_comes_before_anybody_listens_is_heard_first(bus: Bus) -> None:
    """Between subscribing and listening."""
    subscription = await bus._client.subscribe("test.v1.early")
    for payload in (b"one", b"two"):
        await bus.publish("test.v1.early", payload)
    await until(lambda: subscription.pending_msgs == 2)
    heard: list[bytes] = []
    bus._client.hear(subscription, lambda _, payload: heard.append(payload))
    await bus.publish("test.v1.early", b"three")
    await until(lambda: len(heard) == 3)
    assert heard == [b"one", b"two", b"three"]
    await asyncio.wait_for(subscription._pending_queue.join(), 1)


async def test_pings_do_not_pile_up_in_what_waits(bus: Bus) -> None:
    """nats-py counts them; after some days nothing more could have been published."""
    client = bus._client
    for _ in range(100):
        await client._send_ping()
    await bus.ping()
    assert client._pending_data_size == 0


async def test_who_waits_for_room_can_be_cancelled(bus: Bus, nats: Server) -> None:
    """nats-py forgets it, and goes on."""

    async def talk() -> None:
        while True:
            await bus.publish("test.v1.talk", bytes(64 * 1024))

    nats.freeze()
    while bus.send("test.v1.nobody", bytes(64 * 1024)):  # noqa: ASYNC110 (so that the loop writes)
        await asyncio.sleep(0)
    talking = asyncio.create_task(talk())
    transport = bus._client._transport._io_writer.transport  # type: ignore[union-attr] # connected
    await until(lambda: transport.get_write_buffer_size() > MAX_WAITING_BYTES)
    talking.cancel()
    await asyncio.wait([talking], timeout=1)
    assert talking.cancelled()
    nats.thaw()
