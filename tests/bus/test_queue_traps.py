"""A queue while NATS stands still, goes away, and comes back in the middle of each of its steps."""

import asyncio

import pytest
from nats.js import api

from libs.bus import work_queue
from libs.bus.connection import HEADER_ROOM_BYTES, Bus
from libs.bus.streams import provision
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.streams import WorkStream
from tests.brokers import Server
from tests.bus.queues import PATIENT, WORK, none_waiting, waiting_items, working
from tests.waiting import until, until_answer


async def test_a_request_whose_acknowledgement_is_late_is_stored_once(
    bus: Bus, work: WorkStream, nats: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome is unknown to the sender, which says it again under the same id; nats-py would not."""
    monkeypatch.setattr(work_queue, "STORE_ATTEMPT_SECONDS", 0.2)
    nats.freeze()
    storing = asyncio.create_task(store(bus, work, "work.v1.a", b"one", dedupe_id="1"))
    # Two attempts lie in the socket of the frozen server, and one more is under way.
    await asyncio.wait([storing], timeout=1)
    assert not storing.done()
    nats.thaw()
    await storing
    assert await waiting_items(bus) == 1


async def test_a_request_that_waits_for_the_stream_to_have_a_leader_is_stored(bus: Bus, work: WorkStream) -> None:
    """While a cluster elects one, nobody answers: 4 to 9 s; here nobody does because there is no stream yet."""
    await bus.jetstream().delete_stream(work.name)
    storing = asyncio.create_task(store(bus, work, "work.v1.a", b"one", dedupe_id="1"))
    await asyncio.wait([storing], timeout=0.5)
    assert not storing.done()
    await provision(bus, (work,))
    await storing
    assert await waiting_items(bus) == 1


async def test_what_is_too_large_with_its_headers_is_refused_before_it_is_sent(bus: Bus, work: WorkStream) -> None:
    """nats-py measures without them; the server would close the connection for ever."""
    with pytest.raises(RequestError) as caught:
        await store(bus, work, "work.v1.a", b"x" * (bus._client.max_payload - 1), dedupe_id="1")
    assert caught.value.code is ErrorCode.TOO_LARGE
    await bus.ping()
    assert bus._client.is_connected
    # There is room for the largest message that any stream takes.
    assert work.max_message_bytes < bus._client.max_payload - HEADER_ROOM_BYTES


async def test_what_was_finished_while_nats_was_dying_is_acknowledged_all_the_same(
    bus: Bus, nats: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acknowledgement may be lost with the socket it was written to: it is said until NATS answers to it."""
    monkeypatch.setattr(work_queue, "ACK_SECONDS", 0.3)
    await provision(bus, (PATIENT,))
    finish, finished = asyncio.Event(), asyncio.Event()

    async def handler(item: WorkItem) -> None:
        await finish.wait()
        await item.done()
        finished.set()

    await store(bus, PATIENT, "work.v1.a", b"one", dedupe_id="1")
    async with working(bus, handler, stream=PATIENT) as queue:
        await until(lambda: queue.running)
        nats.freeze()
        finish.set()
        # It lies in the socket of the frozen server now, and dies with it.
        await asyncio.wait([asyncio.create_task(finished.wait())], timeout=0.15)
        assert not finished.is_set()
        nats.kill()
        await until(lambda: not bus.connected)
        nats.start()
        await asyncio.wait_for(finished.wait(), 5)
        assert await none_waiting(bus)


async def test_a_worker_that_waits_for_work_goes_on_when_nats_is_back(bus: Bus, nats: Server) -> None:
    """A pull that was under way is not sent again: it has to be short."""
    await provision(bus, (WORK,))
    handled: list[bytes] = []

    async def handler(item: WorkItem) -> None:
        handled.append(item.payload)
        await item.done()

    async with working(bus, handler):
        await until_answer(lambda: pulling(bus))
        nats.kill()
        await until(lambda: not bus.connected)
        nats.start()
        await until(lambda: bus.connected)
        await store(bus, WORK, "work.v1.a", b"one", dedupe_id="1")
        await until(lambda: handled, seconds=4)


async def test_what_comes_to_a_worker_that_is_stopping_goes_to_another_at_once(bus: Bus) -> None:
    """Its last pull is let end: cancelled, it would leave the item it brings waiting for the whole ack_wait."""
    await provision(bus, (PATIENT,))
    taken: list[int] = []

    async def refuse(_: WorkItem) -> None:
        raise AssertionError

    async def take(item: WorkItem) -> None:
        taken.append(item.deliveries)
        await item.done()

    stopping = WorkQueue(bus, PATIENT, refuse, slots=1)
    running = asyncio.create_task(stopping.run())
    await until_answer(lambda: pulling(bus))
    stopping.stop()
    await store(bus, PATIENT, "work.v1.a", b"one", dedupe_id="1")
    await asyncio.wait_for(running, 5)
    async with working(bus, take, stream=PATIENT):
        await until(lambda: taken, seconds=4)
    assert taken == [2]


async def pulling(bus: Bus) -> bool:
    info: api.ConsumerInfo = await bus.jetstream().consumer_info(WORK.name, WORK.consumer)
    return bool(info.num_waiting)
