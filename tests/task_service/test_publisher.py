"""Publishing: in order, by turns, and never forgotten, whatever fails in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import TaskCreate, TaskUpdate
from services.task_service.publisher import BATCH, Publisher
from services.task_service.store import Store
from services.task_service.store_outbox import Unpublished
from tests.brokers import Server
from tests.task_service.asking import following
from tests.task_service.outboxes import take_all
from tests.waiting import until, until_answer


@asynccontextmanager
async def running(*publishers: Publisher) -> AsyncIterator[None]:
    loops = [asyncio.create_task(publisher.run()) for publisher in publishers]
    yield
    for publisher in publishers:
        publisher.stop()
    async with asyncio.timeout(10):
        await asyncio.gather(*loops)


async def nothing_waits(store: Store) -> bool:
    return not await store.has_unpublished()


async def test_what_a_crash_left_is_published_in_order(store: Store, bus: Bus) -> None:
    """Committed, and the process died before it published: nobody wakes the next one's publisher."""
    for progress in range(BATCH + 5):
        await store.update(LOCAL_USER, TaskUpdate(1, progress=progress))
    async with following(bus, 1) as follower, running(Publisher(store, bus)):
        await follower.until_revision(BATCH + 6)
        await until_answer(lambda: nothing_waits(store))
    assert follower.revisions == list(range(2, BATCH + 7))


async def test_two_services_publish_one_order(stores: tuple[Store, Store], bus: Bus, nats: Server) -> None:
    """Changes at once in both, each woken by its own: every revision goes out once, in order, of both tasks."""
    other = (await stores[0].create(LOCAL_USER, TaskCreate("other"))).task.id
    async with (
        connect(nats.url, name="other") as other_bus,
        following(bus, 1) as first,
        following(bus, other) as second,
    ):
        publishers = (Publisher(stores[0], bus), Publisher(stores[1], other_bus))

        async def change(number: int) -> None:
            await stores[number % 2].update(LOCAL_USER, TaskUpdate((1, other)[number // 2 % 2], progress=number))
            publishers[number % 2].wake()

        async with running(*publishers):
            await asyncio.gather(*(change(number) for number in range(40)))
            await first.until_revision(21)
            await second.until_revision(21)
    assert first.revisions == list(range(2, 22))
    assert second.revisions == list(range(1, 22))


async def test_a_failure_after_publishing_repeats_rather_than_loses(store: Store, bus: Bus) -> None:
    """The crash between NATS and the database: the same revision again, with the same content."""
    await store.update(LOCAL_USER, TaskUpdate(1, progress=1))

    async def published_then_dead(rows: list[Unpublished]) -> None:
        await Publisher(store, bus)._send(rows)
        raise BusUnavailable

    async with following(bus, 1) as follower:
        with pytest.raises(BusUnavailable):
            await store.publish(published_then_dead, limit=BATCH)
        await follower.until_revision(2)
        async with running(Publisher(store, bus)):
            await until(lambda: len(follower.heard) == 2)
    assert follower.heard == [follower.heard[0]] * 2


async def test_while_nats_is_away_updates_wait(store: Store, bus: Bus, nats: Server) -> None:
    """The database keeps them; when NATS is back they go out by themselves, in order."""
    async with following(bus, 1) as follower, running(Publisher(store, bus)):
        nats.kill()
        await until(lambda: not bus.connected)
        for progress in (1, 2, 3):
            await store.update(LOCAL_USER, TaskUpdate(1, progress=progress))
        assert await store.has_unpublished()
        nats.start()
        await follower.until_revision(4, seconds=20)
        await until_answer(lambda: nothing_waits(store))
    assert [revision for revision in follower.revisions if revision in (2, 3, 4)][-3:] == [2, 3, 4]


async def test_a_stopped_publisher_first_publishes_what_is_committed(store: Store, bus: Bus) -> None:
    """Then it ends by itself, also where it had nothing to do."""
    async with following(bus, 1) as follower, running(publisher := Publisher(store, bus)):
        await store.update(LOCAL_USER, TaskUpdate(1, progress=1))
        publisher.stop()
        await follower.until_revision(2)
    assert await take_all(store) == []


async def test_publishers_take_turns(stores: tuple[Store, Store]) -> None:
    """While one hands out rows, another waits and then finds them gone."""
    await stores[0].update(LOCAL_USER, TaskUpdate(1, progress=1))
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: list[Unpublished]) -> None:
        began.set()
        await go_on.wait()

    first = asyncio.create_task(stores[0].publish(slowly, limit=BATCH))
    await began.wait()
    second = asyncio.create_task(take_all(stores[1]))
    done, _ = await asyncio.wait([second], timeout=0.3)
    assert done == set(), "the second did not wait"
    go_on.set()
    assert await first == 1
    assert await second == []
