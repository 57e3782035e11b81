"""A task from one end to the other: changed over HTTP as a script would, followed by clients of two gateways."""

import asyncio
import signal

import httpx

from libs.client.connection import Client, Frame
from tests.clients import open_client
from tests.system.stack import RunningStack, ready
from tests.waiting import until_answer


def http_of(stack: RunningStack, gateway: int = 0) -> str:
    return stack.gateways()[gateway].replace("ws://", "http://").removesuffix("/ws")


async def state(client: Client) -> Frame:
    frame = await asyncio.wait_for(client.pushed.get(), 15)
    assert frame["type"] == "task:update"
    data: Frame = frame["data"]
    return data


async def test_three_clients_see_every_change_that_a_script_makes(
    stack: RunningStack, client: Client, other: Client
) -> None:
    """In order, none missing, on both gateways; a late one begins with the present state."""
    async with (
        open_client(stack.gateways()[1]) as late,
        httpx.AsyncClient(base_url=http_of(stack), trust_env=False) as http,
    ):
        steps = [{"title": f"step {number}"} for number in range(4)]
        created = (await http.post("/api/tasks", json={"title": "Backup", "subtasks": steps})).json()
        path = f"/api/tasks/{created['task']['id']}"
        for follower in (client, other):
            await follower.ask("task:subscribe", {"taskId": created["task"]["id"]})
            assert await state(follower) == created
        changes: list[Frame] = [{"status": "executing"}]
        changes += [{"subtasks": [{"id": one["id"], "status": "executing"}]} for one in created["subtasks"]]
        changes += [{"subtasks": [{"id": one["id"], "status": "completed"}]} for one in created["subtasks"]]
        told = [(await http.patch(path, json=change)).json() for change in changes[:5]]
        await late.ask("task:subscribe", {"taskId": created["task"]["id"]})
        # The newest, or the one before, when its update is still on its way.
        begun = told.index(await state(late), 3)
        told += [(await http.patch(path, json=change)).json() for change in changes[5:]]
        refused = await http.patch(path, json={"status": "pending"})
        told.append((await http.patch(path, json={"status": "completed"})).json())
        for follower, expected in ((client, told), (other, told), (late, told[begun + 1 :])):
            assert [await state(follower) for _ in expected] == expected
        assert [one["revision"] for one in told] == list(range(2, 12))
        assert [one["task"]["progress"] for one in told] == [0, 0, 0, 0, 0, 25, 50, 75, 100, 100]
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert (await http.get(path)).json() == told[-1]


async def test_changes_made_at_once_by_many_reach_a_follower_in_one_order(
    stack: RunningStack, client: Client, other: Client
) -> None:
    """Forty changes over two gateways: forty revisions."""
    task_id = (await client.ask("task:create", {"title": "Busy"}))["data"]["task"]["id"]
    await client.ask("task:subscribe", {"taskId": task_id})
    changing = [
        (client, other)[number % 2].ask("task:update", {"taskId": task_id, "title": f"Busy {number}"}, timeout=20)
        for number in range(14)
    ]
    await asyncio.gather(*changing)
    assert [(await state(client))["revision"] for _ in range(15)] == list(range(1, 16))


async def test_a_killed_task_service_loses_no_change(fragile: RunningStack) -> None:
    """What was committed before the kill is told after it; the follower notices nothing but a pause."""
    async with open_client(fragile.ws) as client, open_client(fragile.ws) as changer:
        task_id = (await client.ask("task:create", {"title": "Survives"}))["data"]["task"]["id"]
        await client.ask("task:subscribe", {"taskId": task_id})
        asked = [
            {
                "type": "task:update",
                "data": {"taskId": task_id, "title": f"Survives {number}", "requestId": f"s{number}"},
            }
            for number in range(10)
        ]
        for frame in asked:
            await changer.send(frame)
        fragile.signal("task_service", signal.SIGKILL)
        await ready(fragile, "task_service")

        async def repeated(frame: Frame) -> bool:
            try:
                await changer.ask(frame["type"], frame["data"])
            except Exception:  # noqa: BLE001 (busy, unavailable: asked again until it is done)
                return False
            return True

        for frame in asked:
            await until_answer(lambda frame=frame: repeated(frame), seconds=20)  # type: ignore[misc]
        # One revision for each request, however often it was sent.
        assert [(await state(client))["revision"] for _ in range(11)] == list(range(1, 12))
