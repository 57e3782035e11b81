"""Publishing: right after the commit, in order, and never forgotten, whatever fails in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.bus.connection import Bus, BusUnavailable
from libs.contract.ids import LOCAL_USER
from libs.contract.tasks import TaskUpdate
from services.task_service.publisher import BATCH, OVERDUE_MS, Publisher
from services.task_service.store import Store
from services.task_service.store_frames import Unpublished
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


async def test_a_change_goes_out_at_once_and_is_marked_later(store: Store, bus: Bus) -> None:
    """The subscriber does not wait for a second transaction; nor does anybody publish it again."""
    async with following(bus, 1) as follower, running(publisher := Publisher(store, bus)):
        changed = await store.update(LOCAL_USER, TaskUpdate(1, progress=1))
        await publisher.publish(changed)
        await follower.until_revision(2, seconds=0.3)
        await until_answer(lambda: nothing_waits(store))
    assert follower.heard == [changed]


async def test_what_a_crash_left_is_published_in_order(store: Store, bus: Bus) -> None:
    """Committed, and the process died before it published: another's publisher finds it, when it is overdue."""
    for progress in range(BATCH + 5):
        await store.update(LOCAL_USER, TaskUpdate(1, progress=progress))
    async with following(bus, 1) as follower, running(Publisher(store, bus)):
        await follower.until_revision(BATCH + 6)
        await until_answer(lambda: nothing_waits(store))
    assert follower.revisions == list(range(2, BATCH + 7))


async def test_a_frame_that_is_not_overdue_is_left_to_its_service(stores: tuple[Store, Store], bus: Bus) -> None:
    """Else two services would publish every change twice."""
    committed = time.monotonic()
    await stores[0].update(LOCAL_USER, TaskUpdate(1, progress=1))
    async with following(bus, 1) as follower, running(Publisher(stores[1], bus)):
        await follower.until_revision(2)
    assert time.monotonic() - committed >= OVERDUE_MS / 1000


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


async def test_what_nats_did_not_take_goes_out_again(store: Store, bus: Bus, nats: Server) -> None:
    """It is handed to a connection that breaks: nobody knows what NATS has read, so nothing is marked."""
    async with following(bus, 1) as follower, running(publisher := Publisher(store, bus)):
        nats.freeze()
        await publisher.publish(await store.update(LOCAL_USER, TaskUpdate(1, progress=1)))
        nats.kill()
        await until(lambda: not bus.connected)
        for progress in (2, 3):
            await publisher.publish(await store.update(LOCAL_USER, TaskUpdate(1, progress=progress)))
        assert await store.has_unpublished()
        nats.start()
        await until(lambda: {2, 3, 4} <= set(follower.revisions), seconds=20)
        await until_answer(lambda: nothing_waits(store))


async def test_a_stopped_publisher_first_sees_that_all_is_marked(store: Store, bus: Bus) -> None:
    """The next start publishes nothing again; without anything to do, it ends as well."""
    async with following(bus, 1) as follower, running(publisher := Publisher(store, bus)):
        await publisher.publish(await store.update(LOCAL_USER, TaskUpdate(1, progress=1)))
        publisher.stop()
        await follower.until_revision(2)
    assert await take_all(store) == []


async def test_publishers_of_overdue_frames_take_turns(stores: tuple[Store, Store]) -> None:
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
