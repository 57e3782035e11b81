"""Many clients of one topic: all are served, slow ones get the newest only, and in the end nothing is left."""

import asyncio
import random
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Any

import msgspec

from libs.bus.connection import Bus
from libs.client.connection import Client, ClientError
from tests.clients import open_client, open_socket
from tests.gateway.played import played_tasks, publish_sample
from tests.processes import ServiceProcess
from tests.waiting import until_answer

SUBSCRIBERS = 1000


async def followed(gateway: ServiceProcess) -> dict[str, float]:
    names = ("connections", "subscriptions", "topics", "send_queue_bytes", "client_tasks")
    return await asyncio.to_thread(lambda: {name: gateway.metric(f"gateway_{name}") for name in names})


async def test_a_thousand_clients_of_one_host_and_one_task_share_two_bus_subscriptions(
    shared_bus: Bus, shared_gateway: ServiceProcess
) -> None:
    """Each gets every frame; the task service is asked once; when they leave, nothing is left."""
    async with AsyncExitStack() as opened, played_tasks(shared_bus) as tasks:
        clients: list[Client] = []
        for _ in range(SUBSCRIBERS // 50):
            clients += await asyncio.gather(
                *(opened.enter_async_context(open_client(shared_gateway.ws, timeout=30)) for _ in range(50))
            )
        await asyncio.gather(
            *(client.ask("monitoring:subscribe", {"hosts": ["shown"]}, timeout=30) for client in clients),
            *(client.ask("task:subscribe", {"taskId": 1}, timeout=30) for client in clients),
        )
        assert tasks.asked == ["get"]
        assert await followed(shared_gateway) == {
            "connections": SUBSCRIBERS,
            "subscriptions": 2 * SUBSCRIBERS,
            "topics": 2,
            "send_queue_bytes": 0,
            "client_tasks": 0,
        }
        await publish_sample(shared_bus, "shown")
        for _ in range(3):
            await tasks.change()
        for client in clients:
            frames = [await asyncio.wait_for(client.pushed.get(), 30) for _ in range(5)]
            kinds = [frame["data"].get("revision", frame["type"]) for frame in frames]
            assert sorted(kinds, key=str) == [1, 2, 3, 4, "metrics"]
            assert [kind for kind in kinds if kind != "metrics"] == [1, 2, 3, 4]
    await until_answer(lambda: all_zero(shared_gateway), seconds=20)


async def test_a_client_that_reads_slowly_gets_the_newest_sample_and_stays(
    shared_bus: Bus, shared_gateway: ServiceProcess
) -> None:
    """More samples than its queue holds: the ones in between are left out."""
    async with open_socket(shared_gateway.ws, max_queue=1, compression=None) as slow:
        await slow.recv()
        await slow.send('{"type":"monitoring:subscribe","data":{"hosts":["busy"],"intervalSeconds":1}}')
        await slow.recv()
        # The kernel holds some 5000 of them.
        count = 15_000
        for number in range(count):
            # Each long enough after the one before, so that none is held back for its interval.
            await publish_sample(shared_bus, "busy", interval_seconds=60, load=number)
            if number % 100 == 0:
                await shared_bus.ping()
        received = 0
        while True:
            frame = msgspec.json.decode(await asyncio.wait_for(slow.recv(), 10))
            received += 1
            if frame["data"]["loadAverage"][0] == count - 1:
                break
    assert received < count


async def test_following_and_leaving_at_random_ends_at_zero(shared_bus: Bus, shared_gateway: ServiceProcess) -> None:
    """Subscriptions, topics, connections and tasks of the event loop are what they were before."""
    dice = random.Random(20261122)  # noqa: S311 (repeatable, guards nothing)
    async with played_tasks(shared_bus) as tasks:
        await until_answer(lambda: all_zero(shared_gateway))
        before = await asyncio.to_thread(shared_gateway.metric, "event_loop_tasks")

        async def come_and_go(seed: int) -> None:
            own = random.Random(seed)  # noqa: S311 (as above)
            async with open_client(shared_gateway.ws) as client:
                for _ in range(own.randrange(1, 12)):
                    wish = own.choice(WISHES)
                    if own.random() < 0.3:
                        await client.send({"type": wish[0], "data": wish[1]})  # and does not wait
                    else:
                        try:
                            await client.ask(*wish)
                        except ClientError as error:
                            assert error.code == "not_found"  # noqa: PT017 (most are no errors)

        started = perf_counter()
        for _ in range(8):
            await asyncio.gather(
                *(come_and_go(dice.randrange(2**32)) for _ in range(25)),
                tasks.change(),
                publish_sample(shared_bus, "a"),
            )
        assert perf_counter() - started < 30
    await until_answer(lambda: all_zero(shared_gateway))
    assert await asyncio.to_thread(shared_gateway.metric, "event_loop_tasks") == before


WISHES: list[tuple[str, dict[str, Any]]] = [
    ("task:subscribe", {"taskId": 1}),
    ("task:subscribe", {"taskId": 2}),
    ("task:subscribe", {"taskId": 999}),
    ("task:unsubscribe", {"taskId": 1}),
    ("monitoring:subscribe", {}),
    ("monitoring:subscribe", {"hosts": ["a", "b"], "intervalSeconds": 1}),
    ("monitoring:unsubscribe", {}),
    ("ping", {}),
]


async def all_zero(gateway: ServiceProcess) -> bool:
    return not any((await followed(gateway)).values())
