"""Work queues: accepted means on disk, each item reaches one worker, and comes back from one that died."""

import asyncio

import pytest

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.streams import provision
from libs.bus.work_queue import WorkItem, WorkQueue, store
from libs.contract import streams
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.streams import WorkStream
from tests.brokers import Server
from tests.bus.queues import WORK, Handler, none_waiting, waiting_items, working
from tests.waiting import until, until_answer


async def test_an_item_is_kept_until_it_is_done(bus: Bus, work: WorkStream) -> None:
    """Stored, handled once, and gone."""
    handled: list[bytes] = []

    async def handler(item: WorkItem) -> None:
        handled.append(item.payload)
        await item.done()

    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    assert await waiting_items(bus) == 1
    async with working(bus, handler):
        await until(lambda: handled == [b"one"])
    assert await waiting_items(bus) == 0


async def test_the_same_dedupe_id_is_stored_once(bus: Bus, work: WorkStream) -> None:
    """So that the sender may retry without knowing whether the first try arrived."""
    for _ in range(3):
        await store(bus, work, "work.v1.a", b"one", dedupe_id="same")
    assert await waiting_items(bus) == 1


async def test_storing_fails_at_once_while_nats_is_away_and_nothing_is_stored(
    bus: Bus, work: WorkStream, nats: Server
) -> None:
    """No request is half accepted."""
    nats.kill()
    await until(lambda: not bus.connected)
    with pytest.raises(BusUnavailable):
        await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    nats.start()
    await until(lambda: bus.connected)
    assert await waiting_items(bus) == 0


async def test_what_is_stored_survives_a_kill_of_the_server(bus: Bus, work: WorkStream, nats: Server) -> None:
    """Accepted means on disk."""
    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    nats.kill()
    await until(lambda: not bus.connected)
    nats.start()
    await until(lambda: bus.connected)
    assert await waiting_items(bus) == 1


async def test_a_full_queue_refuses_and_drops_nothing(bus: Bus, work: WorkStream) -> None:
    """The client sees `busy`; accepted work stays."""
    for number in range(15):
        await store(bus, work, "work.v1.a", b"x" * 4000, dedupe_id=str(number))
    with pytest.raises(RequestError) as caught:
        await store(bus, work, "work.v1.a", b"x" * 8000, dedupe_id="too much")
    assert caught.value.code is ErrorCode.BUSY
    assert await waiting_items(bus) == 15


async def test_a_worker_that_beats_keeps_its_item_longer_than_the_ack_wait(bus: Bus, work: WorkStream) -> None:
    """A long answer is not given to a second worker."""
    deliveries: list[int] = []
    finish = asyncio.Event()

    async def handler(item: WorkItem) -> None:
        deliveries.append(item.deliveries)
        await finish.wait()
        await item.done()

    await store(bus, work, "work.v1.a", b"long", dedupe_id="1")
    async with working(bus, handler):
        await until(lambda: deliveries)
        # What is being shown not to happen needs a time in which it would happen: three ack_waits.
        await asyncio.wait([asyncio.create_task(finish.wait())], timeout=3 * WORK.ack_wait_seconds)
        finish.set()
    assert deliveries == [1]


async def test_an_item_of_a_worker_that_vanished_goes_to_another(bus: Bus, work: WorkStream, nats: Server) -> None:
    """No acknowledgement and no beats: it comes back after the ack_wait."""
    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    async with connect(nats.url, name="vanishing") as vanishing:
        pull = await vanishing.jetstream().pull_subscribe_bind(stream=WORK.name, durable=WORK.consumer)
        assert len(await pull.fetch(1, timeout=2)) == 1
    taken: list[int] = []

    async def handler(item: WorkItem) -> None:
        taken.append(item.deliveries)
        await item.done()

    async with working(bus, handler):
        await until(lambda: taken)
    assert taken == [2]


async def test_a_handler_that_raises_gets_its_item_again_later(bus: Bus, work: WorkStream) -> None:
    """A defect loses nothing."""
    attempts: list[int] = []

    async def handler(item: WorkItem) -> None:
        attempts.append(item.deliveries)
        if item.deliveries == 1:
            raise ValueError("a defect")
        await item.done()

    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    async with working(bus, handler):
        await until(lambda: attempts == [1, 2])


async def test_an_item_comes_again_until_it_is_done_however_often(bus: Bus, work: WorkStream) -> None:
    """At a limit of its own the stream would keep it, give it to nobody and tell nobody; the database counts."""
    deliveries: list[int] = []

    async def handler(item: WorkItem) -> None:
        deliveries.append(item.deliveries)
        await (item.done() if item.deliveries == 50 else item.later())

    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    async with working(bus, handler):
        await until_answer(lambda: none_waiting(bus))
    assert deliveries == list(range(1, 51))


async def test_several_workers_share_the_items(bus: Bus, work: WorkStream, nats: Server) -> None:
    """Each item to exactly one of them, and both have some."""
    handled: dict[str, list[bytes]] = {"one": [], "other": []}

    def handler(name: str) -> Handler:
        async def handle(item: WorkItem) -> None:
            handled[name].append(item.payload)
            await asyncio.sleep(0)
            await item.done()

        return handle

    async with (
        connect(nats.url, name="other") as other,
        working(bus, handler("one"), slots=2),
        working(other, handler("other"), slots=2),
    ):
        for number in range(40):
            await store(bus, work, "work.v1.a", b"%d" % number, dedupe_id=str(number))
        await until(lambda: len(handled["one"]) + len(handled["other"]) == 40)
    assert sorted(handled["one"] + handled["other"]) == sorted(b"%d" % number for number in range(40))
    assert handled["one"] != []
    assert handled["other"] != []


async def test_a_worker_never_has_more_items_in_hand_than_slots(bus: Bus, work: WorkStream) -> None:
    """What is over that waits in the stream, for any worker that is free."""
    most = 0
    finish = asyncio.Event()

    async def handler(item: WorkItem) -> None:
        nonlocal most
        most = max(most, queue.running)
        await finish.wait()
        await item.done()

    for number in range(6):
        await store(bus, work, "work.v1.a", b"x", dedupe_id=str(number))
    async with working(bus, handler, slots=2) as queue:
        await until(lambda: queue.running == 2)
        finish.set()
        await until_answer(lambda: none_waiting(bus))
    assert most == 2


async def test_an_item_knows_the_unfinished_ones_before_it_under_its_subject(bus: Bus, work: WorkStream) -> None:
    """Oldest first, and none of another subject."""
    seen: dict[bytes, list[bytes]] = {}

    async def handler(item: WorkItem) -> None:
        seen[item.payload] = [payload async for payload in item.earlier()]
        if len(seen) == 4:
            all_seen.set()
        await all_seen.wait()
        await item.done()

    all_seen = asyncio.Event()
    for subject, payload in (("a", b"a1"), ("b", b"b1"), ("a", b"a2"), ("a", b"a3")):
        await store(bus, work, f"work.v1.{subject}", payload, dedupe_id=payload.decode())
    async with working(bus, handler):
        await asyncio.wait_for(all_seen.wait(), 5)
    assert seen == {b"a1": [], b"b1": [], b"a2": [b"a1"], b"a3": [b"a1", b"a2"]}


async def test_a_queue_without_its_stream_says_what_to_do(bus: Bus) -> None:
    """Readiness: the provisioning step was forgotten."""

    async def handler(_: WorkItem) -> None:
        raise AssertionError

    with pytest.raises(BusUnavailable, match="run the provisioning step"):
        await WorkQueue(bus, WORK, handler, slots=1).ping()


async def test_a_worker_that_starts_before_the_provisioning_step_waits_for_it(bus: Bus) -> None:
    """In which order processes start is nobody's worry."""
    handled: list[bytes] = []

    async def handler(item: WorkItem) -> None:
        handled.append(item.payload)
        await item.done()

    async with working(bus, handler):
        await provision(bus, (WORK,))
        await store(bus, WORK, "work.v1.a", b"one", dedupe_id="1")
        await until(lambda: handled == [b"one"])


async def test_provisioning_twice_changes_nothing(bus: Bus, work: WorkStream) -> None:
    """Idempotent, also over work that waits."""
    await store(bus, work, "work.v1.a", b"one", dedupe_id="1")
    await provision(bus, (WORK, *streams.ALL))
    assert await waiting_items(bus) == 1
