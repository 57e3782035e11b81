"""Orderly goodbyes under load: a gateway with a thousand clients, a worker in the middle of answers, everything."""

import asyncio
import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from time import monotonic

import pytest

from libs.client.connection import Client, ClientError
from tests.clients import open_client
from tests.scripted_model.answers import numbered_tokens
from tests.system.chats import chatting
from tests.system.faithful import GONE, Asked, faithfully, not_as_seen
from tests.system.stack import RunningStack, ready, running_stack, running_worker
from tests.waiting import until, until_answer

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(240)]

CLIENTS = 1000
WINDOW_SECONDS = 5.0
# After the window: the last goodbyes, what is open over HTTP, the end of the process.
GRACE_SECONDS = 6.0
WORKERS = ("chat_worker-1", "chat_worker-2")
# In which order an operator would; none of them twice.
EVERYTHING = ("gateway-1", "chat_worker-1", "task_service", "nats", "gateway-2", "chat_worker-2")


@pytest.fixture(scope="module")
def rolling(scripted_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack whose processes are asked to stop; the launcher starts them again."""
    folder = tmp_path_factory.mktemp("rolling")
    env = {"GATEWAY_DRAIN_SECONDS": f"{WINDOW_SECONDS:g}", "CHAT_WORKER_GRACE_SECONDS": "4"}
    with running_stack(folder, lm_studio_url=scripted_url, gateways=2, workers=2, env=env) as running:
        yield running


def exits(stack: RunningStack, name: str) -> list[str]:
    """How this process has ended so far, as the launcher tells it."""
    said = (stack.data.parent / "launcher.log").read_text().splitlines()
    return [line.partition("(")[2].partition(")")[0] for line in said if f"{name} has ended" in line]


def goodbyes(stack: RunningStack, name: str) -> list[float]:
    """When this gateway sent each of its clients away: seconds after SIGTERM, by its own log.

    A client that has a thousand sockets is too busy to say.
    """
    told = [json.loads(line) for line in stack.log(name).splitlines() if line.startswith("{")]
    asked = next(number for number, line in enumerate(told) if line["event"] == "stopping")
    moments = [datetime.fromisoformat(line["time"]) for line in told]
    return [
        (moment - moments[asked]).total_seconds()
        for line, moment in zip(told, moments, strict=True)
        if line["event"] == "closing a connection" and line["code"] == 4200
    ]


async def come_back(client: Client, elsewhere: str) -> None:
    """Sent away, and welcome at another gateway."""
    while (frame := await client.pushed.get())["type"] != "session:draining":
        pass
    assert frame["data"] == {"reconnectWithinMs": WINDOW_SECONDS * 1000}
    while (frame := await client.pushed.get())["type"] != "closed":
        pass
    assert frame["data"]["code"] == 4200
    async with open_client(elsewhere, timeout=30) as back:
        await back.ask("ping", timeout=30)


async def create_until_gone(client: Client, created: list[str]) -> None:
    """Tasks, one after the other, whose titles are their request ids; all but the last were answered."""
    with suppress(ClientError, *GONE):
        while True:
            created.append(secrets.token_hex(8))
            await client.ask("task:create", {"title": created[-1], "requestId": created[-1]})


async def chat_until_gone(client: Client, asked: list[Asked], *, model: str) -> None:
    """Chats, one after the other."""
    with suppress(ClientError, *GONE):
        while True:
            asked.append(Asked(f"até logo {secrets.token_hex(4)}", model=model))
            await asked[-1].follow(client)


async def test_a_thousand_clients_are_sent_away_evenly_and_nothing_of_theirs_is_lost(rolling: RunningStack) -> None:
    """20 in the middle of long answers, 20 chatting, 20 creating tasks; all go on at the other gateway."""
    here, elsewhere = rolling.gateways()
    long: list[Asked] = []
    short: list[Asked] = []
    created: list[list[str]] = [[] for _ in range(20)]
    async with AsyncExitStack() as opened:
        clients: list[Client] = []
        for _ in range(CLIENTS // 50):
            clients += await asyncio.gather(
                *(opened.enter_async_context(open_client(here, timeout=30)) for _ in range(50))
            )
        busy = [
            *(chat_until_gone(client, long, model="paced-400-50") for client in clients[:1000:50]),
            *(chat_until_gone(client, short, model="echo") for client in clients[1:1000:50]),
            *(create_until_gone(client, titles) for client, titles in zip(clients[2:1000:50], created, strict=True)),
        ]
        working = [asyncio.create_task(one) for one in busy]
        back = [asyncio.create_task(come_back(client, elsewhere)) for client in clients]
        await until(lambda: len(long) == 20 and all(one.answer.text for one in long), seconds=30)
        stopped_at = monotonic()
        rolling.signal("gateway-1", signal.SIGTERM)
        await until_answer(lambda: asyncio.to_thread(exits, rolling, "gateway-1"), seconds=60)
        took = monotonic() - stopped_at
        await asyncio.gather(*back, *working)
    tenths = Counter(int(10 * seconds / WINDOW_SECONDS) for seconds in goodbyes(rolling, "gateway-1"))
    print(f"sent away in each tenth of the window: {sorted(tenths.items())}; exit after {took:.1f} s")  # noqa: T201
    assert sum(tenths.values()) == CLIENTS
    assert max(tenths.values()) <= 2 * CLIENTS / 10
    # As long after the window as a busy machine makes it.
    assert max(tenths) <= 12
    assert exits(rolling, "gateway-1") == ["exit code 0"]
    assert took < WINDOW_SECONDS + GRACE_SECONDS

    assert any(one.answer.text and not one.answer.over for one in long)
    await asyncio.gather(*(one.finish([elsewhere]) for one in (*long, *short)))
    assert {one.answer.text for one in long} == {"".join(numbered_tokens(400))}
    assert {one.answer.epoch for one in (*long, *short)} == {1}
    assert await not_as_seen(rolling, [*long, *short]) == []
    async with open_client(elsewhere) as client:
        for title in (titles[-1] for titles in created):
            await client.ask("task:create", {"title": title, "requestId": title})
    assert await titles_not_once(elsewhere, [title for titles in created for title in titles]) == {}
    await ready(rolling, "gateway-1")


async def titles_not_once(url: str, titles: list[str]) -> dict[str, int]:
    """The titles that do not have exactly one task."""
    found: Counter[str] = Counter()
    async with open_client(url) as client:
        cursor = None
        while True:
            page = (await client.ask("task:list", {"limit": 200, **({"before": cursor} if cursor else {})}))["data"]
            found.update(task["title"] for task in page["tasks"])
            cursor = page["cursor"]
            if cursor is None:
                break
    return {title: found[title] for title in titles if found[title] != 1}


@pytest.mark.parametrize(("model", "tokens", "epoch"), [("paced-100-50", 100, 1), ("paced-400-50", 400, 2)])
async def test_a_worker_that_stops_finishes_what_it_can_and_hands_back_the_rest(
    rolling: RunningStack, model: str, tokens: int, epoch: int
) -> None:
    """Within its grace period of 4 s, or at its end; either way the process ends in order, soon after."""
    async with open_client(rolling.ws) as client, chatting(client, f"adeus {model}", model=model) as chat:
        await until(lambda: chat.answer.text)
        worker = await running_worker(rolling)
        before, stopped_at = len(exits(rolling, worker)), monotonic()
        rolling.signal(worker, signal.SIGTERM)
        await until_answer(lambda: asyncio.to_thread(lambda: len(exits(rolling, worker)) > before), seconds=20)
        took = monotonic() - stopped_at
        await until(lambda: chat.answer.over, seconds=30)
    assert chat.answer.text == "".join(numbered_tokens(tokens))
    assert chat.answer.epoch == epoch
    assert exits(rolling, worker)[-1] == "exit code 0"
    assert took < GRACE_SECONDS + 4
    await ready(rolling, *WORKERS)


class Changing:
    """One task that is changed again and again, faithfully, and followed as faithfully."""

    def __init__(self, urls: list[str]) -> None:
        self.changes = 0
        self.revisions: list[list[int]] = []
        """As they were told, on one connection after the other."""
        self._urls = urls
        self._task_id = 0

    async def begin(self) -> None:
        async with open_client(self._urls[0]) as client:
            created = await client.ask("task:create", {"title": "rolling"})
        self._task_id = created["data"]["task"]["id"]

    async def change(self, until_over: asyncio.Event) -> None:
        while not until_over.is_set():
            change = {"taskId": self._task_id, "title": f"rolling {self.changes}", "requestId": secrets.token_hex(8)}
            await faithfully(lambda client, change=change: client.ask("task:update", change), self._urls)  # type: ignore[misc]
            self.changes += 1

    async def follow(self) -> None:
        """Until the last change: one of the changes, then a change that says so."""

        async def once(client: Client) -> None:
            await client.ask("task:subscribe", {"taskId": self._task_id})
            told: list[int] = []
            while True:
                frame = await client.pushed.get()
                if frame["type"] == "closed":
                    raise ClientError("the connection has ended", frame)
                if frame["type"] == "task:update":
                    if not told:
                        self.revisions.append(told)
                    told.append(frame["data"]["revision"])
                    if frame["data"]["task"]["status"] == "cancelled":
                        return

        await faithfully(once, self._urls)

    async def end(self) -> None:
        ask = {"taskId": self._task_id, "requestId": secrets.token_hex(8)}
        await faithfully(lambda client: client.ask("task:cancel", ask), self._urls)


async def test_everything_is_restarted_one_after_the_other_under_twenty_chats(rolling: RunningStack) -> None:
    """Gateways, workers, task service, NATS: every answer once and whole, every change of a task told in order."""
    urls = rolling.gateways()
    over = asyncio.Event()
    asked: list[Asked] = []
    changing = Changing(urls)
    await changing.begin()

    async def chat(number: int) -> None:
        while not over.is_set():
            one = Asked(f"rolando {number} {secrets.token_hex(4)}", model="paced-150-50")
            asked.append(one)
            await one.finish(urls[number % 2 :] + urls[: number % 2])

    chats = [asyncio.create_task(chat(number)) for number in range(20)]
    following = asyncio.create_task(changing.follow())
    changes = asyncio.create_task(changing.change(over))
    for name in EVERYTHING:
        before, reached = len(exits(rolling, name)), sum(bool(one.answer.text) for one in asked)
        rolling.signal(name, signal.SIGTERM)
        await until_answer(lambda name=name, before=before: ended(rolling, name, before), seconds=30)  # type: ignore[misc]
        await ready(rolling, "gateway-1", "gateway-2", "task_service", *WORKERS)
        # The next one only when answers come again.
        await until(lambda reached=reached: sum(bool(one.answer.text) for one in asked) > reached, seconds=30)  # type: ignore[misc]
    over.set()
    await asyncio.gather(*chats, changes)
    await changing.end()
    await asyncio.wait_for(following, 30)
    epochs = Counter(one.answer.epoch for one in asked)
    print(f"{len(asked)} answers, by epoch {sorted(epochs.items())}; {changing.changes} changes")  # noqa: T201
    assert len(asked) > 40
    assert {one.answer.text for one in asked} == {"".join(numbered_tokens(150))}
    assert await not_as_seen(rolling, asked) == []
    # Creating it was the first revision, cancelling it the last; who comes back begins with the present one.
    assert changing.revisions[-1][-1] == changing.changes + 2
    for told in changing.revisions:
        assert told == list(range(told[0], told[0] + len(told)))
    assert [exits(rolling, name)[-1] for name in EVERYTHING if name != "nats"] == ["exit code 0"] * 5


async def ended(stack: RunningStack, name: str, before: int) -> bool:
    return len(await asyncio.to_thread(exits, stack, name)) > before
