"""What is known to go wrong between nats-py and nats-server, and must not go wrong here."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from nats.aio.transport import TcpTransport
from structlog.testing import capture_logs

from libs.bus import connection
from libs.bus.connection import Bus, BusUnavailable, ConnectionLost, connect
from libs.bus.streams import provision
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract import streams
from tests.brokers import Server, nats_server
from tests.waiting import until, until_answer


async def test_a_read_loop_that_has_died_is_noticed(bus: Bus) -> None:
    """The connection goes on saying that it is connected, and nothing would be heard any more."""
    losing = asyncio.create_task(bus.until_lost())
    reading = bus._client._reading_task
    assert reading is not None
    reading.cancel()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(losing, 5)
    assert bus.connected


async def test_questions_that_are_dropped_unread_are_counted_and_told_once(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py drops them without a word to anybody else; what was missed is asked for when `losses` grows."""
    monkeypatch.setattr(connection, "MAX_UNREAD_MESSAGES", 5)
    answered = 0
    proceed = asyncio.Event()

    async def answer(_: str, payload: bytes) -> bytes:
        nonlocal answered
        await proceed.wait()
        answered += 1
        return payload

    started = monotonic()
    with capture_logs() as logged:
        async with bus.serving("test.v1.flood", answer, at_once=1):
            await bus.ping()
            for _ in range(2000):
                await bus.publish("test.v1.flood", b"x")
            await until(lambda: bus.losses > 0)
            proceed.set()
            await until(lambda: answered + bus.losses == 2000)
    # A line for each would take the time that there is too little of.
    assert len([line for line in logged if line["log_level"] == "error"]) <= 1 + monotonic() - started
    await bus.ping()


async def test_a_listener_that_is_far_behind_is_cut_off_and_knows_that_it_has_missed_something(tmp_path: Path) -> None:
    """Nothing waits for it in this process: NATS keeps what it may (64 MB usually), then hangs up. It comes back."""
    server = nats_server(tmp_path)
    with (tmp_path / "nats.conf").open("a") as configuration:
        configuration.write("max_pending: 1MB\n")
    server.start()
    heard = 0

    def hear(_: str, payload: bytes) -> None:
        nonlocal heard
        heard += 1
        time.sleep(0.002)  # the work of a process that has too much to do

    try:
        async with connect(server.url, name="slow") as bus, connect(server.url, name="quick") as other:
            async with bus.listening("test.v1.flood", hear):
                await bus.ping()
                # More than the kernel takes besides.
                for _ in range(1000):
                    await other.publish("test.v1.flood", b"x" * 50_000)
                await until(lambda: bus.losses > 0, seconds=20)
                missed = 1000 - heard
                await other.publish("test.v1.flood", b"again")
                await until(lambda: heard > 1000 - missed)
            assert missed > 0
            assert bus.reconnects > 0
    finally:
        server.kill()


async def test_what_is_published_while_nats_is_away_waits_up_to_a_bound(bus: Bus, nats: Server) -> None:
    """Then it is refused, and the process does not grow; what waited comes when NATS is back, in order."""
    heard: list[bytes] = []

    async def publish_on_and_on() -> None:
        for number in range(100):
            await bus.publish("test.v1.waiting", b"%02d" % number + b"x" * 50_000)

    async with bus.listening("test.v1.waiting", lambda _, payload: heard.append(payload[:2])):
        nats.kill()
        await until(lambda: not bus.connected)
        with pytest.raises(BusUnavailable):
            await publish_on_and_on()
        nats.start()
        await until(lambda: heard[-1:] == [b"19"])
        await bus.ping()
    assert heard == [b"%02d" % number for number in range(20)]


async def test_a_question_that_is_given_up_harms_nobody_when_its_answer_comes(bus: Bus) -> None:
    """A client that leaves takes its question with it; a late reply must not end the read loop."""
    asked, finish = asyncio.Event(), asyncio.Event()

    async def answer(_: str, payload: bytes) -> bytes:
        asked.set()
        await finish.wait()
        return payload

    async with bus.serving("test.v1.late", answer):
        question = asyncio.create_task(bus.request("test.v1.late", b"", timeout=10))
        await asyncio.wait_for(asked.wait(), 5)
        question.cancel()
        finish.set()
        assert await bus.request("test.v1.late", b"next", timeout=5) == b"next"
    assert bus._client._resp_map == {}


@pytest.fixture
def newer_acks(tmp_path: Path) -> Iterator[Server]:
    """A server that writes the subjects of acknowledgements in their second form."""
    server = nats_server(tmp_path)
    with (tmp_path / "nats.conf").open("a") as configuration:
        configuration.write("feature_flags { js_ack_fc_v2: true }\n")
    server.start()
    yield server
    server.kill()


async def test_work_is_done_with_either_form_of_acknowledgement(newer_acks: Server) -> None:
    """The form is the server's choice, and its default is to change."""
    deliveries: list[int] = []

    async def handler(item: WorkItem) -> None:
        deliveries.append(item.deliveries)
        assert [payload async for payload in item.earlier()] == []
        await (item.later() if len(deliveries) == 1 else item.done())

    async with connect(newer_acks.url, name="test") as bus:
        await provision(bus, streams.ALL)
        queue = WorkQueue(bus, streams.CHAT, handler, slots=1)
        running = asyncio.create_task(queue.run())
        await store(bus, streams.CHAT, "chat.v1.send.1", b"one", dedupe_id="1")

        async def none_left() -> bool:
            return (await bus.jetstream().stream_info(streams.CHAT.name)).state.messages == 0

        await until_answer(none_left)
        queue.stop()
        await running
    assert deliveries == [1, 2]


async def test_each_attempt_to_connect_again_hangs_up_before_the_next_one(
    nats: Server, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel accepts for a frozen server, so each attempt has a socket; nats-py leaves them to chance."""
    transport = bus._client._transport
    assert isinstance(transport, TcpTransport)
    connect_again = transport.connect
    hung_up: list[bool] = []

    async def noting(*where: Any, **how: Any) -> None:
        assert transport._io_writer is not None
        hung_up.append(transport._io_writer.is_closing())
        await connect_again(*where, **how)

    monkeypatch.setattr(transport, "connect", noting)
    nats.freeze()
    await bus._client.force_reconnect()
    await until(lambda: len(hung_up) == 3)
    nats.thaw()
    await until(lambda: bus.reconnects == 1)
    await bus.ping()
    assert all(hung_up)


@pytest.mark.thorough
async def test_a_frozen_server_does_not_keep_what_was_not_sent_yet_from_moving_to_another(tmp_path: Path) -> None:
    """Closing a socket with unsent bytes waits for its peer, which was minutes (nats.py issue 671); here 5 s."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    one, other = (nats_server(folder) for folder in folders)
    one.start()
    try:
        async with connect(f"{one.url},{other.url}", name="test") as bus:
            one.freeze()
            other.start()
            # More than the kernel takes: the rest waits in the socket of the frozen server.
            for _ in range(200):
                await bus.publish("test.v1.unsent", b"x" * 50_000)
                await asyncio.sleep(0)
            await until(lambda: bus.reconnects == 1, seconds=25)
            await bus.ping()
    finally:
        one.kill()
        other.kill()
