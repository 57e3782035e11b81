"""The short way of tokens: nothing waits alone, nothing changes places, nothing harms the connection."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from libs.bus.connection import Bus, BusUnavailable
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
