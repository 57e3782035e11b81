"""Tasks that clients follow: the present state first, then every change, in order, none missing."""

import asyncio

import pytest

from libs.bus.connection import Bus
from libs.bus.streams import provision
from libs.client.connection import Client, ClientError
from libs.contract import streams
from services.gateway.task_topic import opened_task_topic
from tests.brokers import Server
from tests.clients import open_client
from tests.gateway.played import played_tasks, update_frame
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer


async def revisions(client: Client, count: int) -> list[int]:
    """Of the next updates that are pushed."""
    found = []
    for _ in range(count):
        frame = await asyncio.wait_for(client.pushed.get(), 10)
        assert frame["type"] == "task:update"
        found.append(frame["data"]["revision"])
    return found


async def test_who_follows_a_task_gets_it_as_it_stands_and_then_every_change(shared_bus: Bus, visitor: Client) -> None:
    """`task:subscribed` with the id of the request, `task:update` without."""
    async with played_tasks(shared_bus) as tasks:
        assert (await visitor.ask("task:subscribe", {"taskId": 1}))["data"] == {"taskId": 1}
        assert await revisions(visitor, 1) == [1]
        for _ in range(50):
            await tasks.change()
        assert await revisions(visitor, 50) == list(range(2, 52))
        assert (await visitor.ask("task:unsubscribe", {"taskId": 1}))["data"] == {"taskId": 1}
        await tasks.change()
        await visitor.ask("ping")
        assert visitor.pushed.empty()


async def test_following_twice_shows_the_task_again_and_doubles_nothing(shared_bus: Bus, visitor: Client) -> None:
    """One subscription, left by one unsubscribe."""
    async with played_tasks(shared_bus) as tasks:
        for _ in range(2):
            await visitor.ask("task:subscribe", {"taskId": 1})
        assert await revisions(visitor, 2) == [1, 1]
        await tasks.change()
        assert await revisions(visitor, 1) == [2]
        await visitor.ask("ping")
        assert visitor.pushed.empty()
        await visitor.ask("task:unsubscribe", {"taskId": 1})


async def test_leaving_what_was_not_followed_is_answered_all_the_same(visitor: Client) -> None:
    """The client's wish is fulfilled."""
    assert (await visitor.ask("task:unsubscribe", {"taskId": 5}))["data"] == {"taskId": 5}
    assert (await visitor.ask("monitoring:unsubscribe")) == {"type": "monitoring:unsubscribed", "id": "2"}


async def test_updates_are_shown_once_and_in_order_however_they_arrive(shared_bus: Bus, visitor: Client) -> None:
    """Doubled ones are dropped; one that overtakes another waits for it."""
    async with played_tasks(shared_bus) as tasks:
        await visitor.ask("task:subscribe", {"taskId": 1})
        for revision in (2, 2, 1, 4, 3, 3, 6, 5, 4):
            await tasks.publish(revision)
        assert await revisions(visitor, 6) == [1, 2, 3, 4, 5, 6]
        assert tasks.asked.count("get") == 1


async def test_what_the_bus_has_lost_is_asked_for_and_shown_in_order(shared_bus: Bus, visitor: Client) -> None:
    """Every revision, in as many answers as it takes; the client does nothing."""
    async with played_tasks(shared_bus) as tasks:
        await visitor.ask("task:subscribe", {"taskId": 1})
        for _ in range(5):
            await tasks.change(publish=False)
        await tasks.change()
        assert await revisions(visitor, 7) == [1, 2, 3, 4, 5, 6, 7]
        await tasks.change()
        assert await revisions(visitor, 1) == [8]


async def test_what_is_no_longer_kept_is_replaced_by_the_task_as_it_stands(shared_bus: Bus, visitor: Client) -> None:
    """A jump, and then every change again."""
    async with played_tasks(shared_bus) as tasks:
        tasks.keeps_changes = False
        await visitor.ask("task:subscribe", {"taskId": 1})
        for _ in range(5):
            await tasks.change(publish=False)
        await tasks.change()
        assert await revisions(visitor, 2) == [1, 7]
        await tasks.change()
        assert await revisions(visitor, 1) == [8]


async def test_a_task_that_does_not_exist_is_an_error_and_leaves_nothing_behind(
    shared_bus: Bus, visitor: Client, shared_gateway: ServiceProcess
) -> None:
    """`not_found`; also for all who asked at the same moment."""
    async with played_tasks(shared_bus):
        answers = await asyncio.gather(
            *(visitor.ask("task:subscribe", {"taskId": 999}) for _ in range(5)), return_exceptions=True
        )
    assert [answer.code for answer in answers if isinstance(answer, ClientError)] == ["not_found"] * 5
    await until_answer(lambda: nothing_followed(shared_gateway))


async def test_without_a_task_service_following_is_refused_at_once(visitor: Client) -> None:
    """`service_unavailable`, retryable."""
    with pytest.raises(ClientError) as caught:
        await visitor.ask("task:subscribe", {"taskId": 1}, timeout=2)
    assert caught.value.code == "service_unavailable"


async def test_a_client_that_leaves_while_the_task_is_asked_for_leaves_nothing_behind(
    shared_bus: Bus, shared_gateway: ServiceProcess
) -> None:
    """The one who shares the wait gets the task."""
    async with played_tasks(shared_bus) as tasks, open_client(shared_gateway.ws) as stays:
        tasks.answering.clear()
        async with open_client(shared_gateway.ws) as leaves:
            await leaves.send({"type": "task:subscribe", "data": {"taskId": 1}})
            await until(lambda: tasks.asked)
            asking = asyncio.create_task(stays.ask("task:subscribe", {"taskId": 1}))
            await stays_connected(shared_gateway, 2)
        await stays_connected(shared_gateway, 1)
        tasks.answering.set()
        await asking
        assert await revisions(stays, 1) == [1]
        assert tasks.asked == ["get"]
    await until_answer(lambda: nothing_followed(shared_gateway))


async def test_one_connection_may_follow_so_much_and_no_more(shared_bus: Bus, visitor: Client) -> None:
    """`busy`; what it follows goes on, and leaving makes room."""
    async with played_tasks(shared_bus):
        await visitor.ask("monitoring:subscribe", {"hosts": [f"host-{number}" for number in range(64)]})
        await asyncio.gather(*(visitor.ask("task:subscribe", {"taskId": number}) for number in range(1, 65)))
        with pytest.raises(ClientError, match="128 things at most") as caught:
            await visitor.ask("task:subscribe", {"taskId": 65})
        assert caught.value.code == "busy"
        await visitor.ask("monitoring:subscribe", {"hosts": ["only-one"]})
        await visitor.ask("task:subscribe", {"taskId": 65})


async def test_after_nats_was_away_a_followed_task_is_brought_up_to_date(
    client: Client, bus: Bus, nats: Server, gateway: ServiceProcess
) -> None:
    """What changed meanwhile is shown, also when no later change tells of it."""
    async with played_tasks(bus) as tasks:
        await client.ask("task:subscribe", {"taskId": 1})
        nats.kill()
        await until_answer(lambda: asyncio.to_thread(lambda: not gateway.is_ready()))
        for _ in range(2):
            await tasks.change(publish=False)
        nats.start()
        await until_answer(lambda: asyncio.to_thread(gateway.is_ready))
        await provision(bus, streams.ALL)
        assert await revisions(client, 3) == [1, 2, 3]
        await tasks.change()
        assert await revisions(client, 1) == [4]


async def nothing_followed(gateway: ServiceProcess) -> bool:
    return not await asyncio.to_thread(
        lambda: gateway.metric("gateway_subscriptions") + gateway.metric("gateway_topics")
    )


async def stays_connected(gateway: ServiceProcess, count: int) -> None:
    await until_answer(lambda: asyncio.to_thread(lambda: gateway.metric("gateway_connections") == count))


async def test_a_loss_is_looked_into_also_while_a_gap_is_being_waited_for(shared_bus: Bus) -> None:
    """The gap closes by itself; what was lost meanwhile, with nothing behind it, is asked for all the same."""
    async with played_tasks(shared_bus) as tasks, opened_task_topic(shared_bus, "local", 1) as topic:
        for revision in (3, 2):
            topic.hear("", update_frame(1, revision))
        tasks.revision = 5
        topic.mend(after=0)
        await until(lambda: topic.present == update_frame(1, 5))


async def test_a_loss_that_is_noticed_while_the_task_is_asked_for_is_looked_into_as_well(shared_bus: Bus) -> None:
    """The answer that is on its way was read before: nothing else would show the change until the next one."""
    async with played_tasks(shared_bus) as tasks, opened_task_topic(shared_bus, "local", 1) as topic:
        tasks.answering.clear()
        asked = len(tasks.asked)
        topic.mend(after=0)
        await until(lambda: len(tasks.asked) > asked)
        tasks.revision = 2
        topic.mend(after=0)
        tasks.answering.set()
        await until(lambda: topic.present == update_frame(1, 2))
