"""The database goes away in the middle of an answer: its text is only in the worker then, and must not be lost."""

import asyncio
import secrets
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from libs.client.connection import ClientError
from libs.local_stack.data_folder import DataFolder
from tests.chaos.tcp_proxy import Link
from tests.clients import open_client
from tests.databases import own_schema
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import call_at_model, calls_at_model
from tests.system.faithful import Asked, not_as_seen
from tests.system.stack import RunningStack, ready, running_stack
from tests.waiting import until, until_answer

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(180)]

# Longer than the lease of 3 s, counted from the end of the answer.
STILL_AWAY_SECONDS = 5.0


async def survives(stack: RunningStack, scripted_url: str, away: AbstractAsyncContextManager[None]) -> None:
    """The answer that ended meanwhile is saved as it was; a request made meanwhile waits in the queue."""
    ended, waited = (Asked(f"guarde {secrets.token_hex(4)}", model=model) for model in ("paced-150-50", "echo"))
    async with open_client(stack.ws) as client, open_client(stack.ws) as other:
        following = asyncio.create_task(ended.follow(client))
        await until(lambda: len(ended.answer.text) > 100)
        async with away:
            waiting = asyncio.create_task(waited.follow(other))
            await until_answer(lambda: said_all(scripted_url, ended.message), seconds=20)
            await asyncio.sleep(STILL_AWAY_SECONDS)
            assert ended.answer.done is None
        await asyncio.wait_for(asyncio.gather(following, waiting), 40)
    assert ended.answer.text == "".join(numbered_tokens(150))
    assert waited.answer.text == expected_answer(waited.message)
    assert await not_as_seen(stack, [ended, waited]) == []
    # Not generated again: the text was in hand.
    asked = [call["messages"][-1]["content"] for call in await calls_at_model(scripted_url)]
    assert asked.count(ended.message) == 1
    assert ended.answer.epoch == 1


async def said_all(scripted_url: str, message: str) -> bool:
    call = await call_at_model(scripted_url, message)
    return call is not None and call["finished"] is not None


async def test_an_answer_outlives_a_locked_sqlite_file(scripted_url: str, tmp_path: Path) -> None:
    """Somebody else holds the write lock."""
    with running_stack(tmp_path, lm_studio_url=scripted_url) as stack:
        url = DataFolder(stack.data).database_url("chat_worker")
        await survives(stack, scripted_url, locked(str(make_url(url).database)))


@asynccontextmanager
async def locked(file: str) -> AsyncIterator[None]:
    connection = sqlite3.connect(file, timeout=20, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def test_an_answer_outlives_the_loss_of_mariadb(scripted_url: str, mariadb_url: str, tmp_path: Path) -> None:
    """Every connection breaks, and no new one is taken; what needs the database is refused clearly meanwhile."""
    link = Link("chat_worker=database", "database")
    async with AsyncExitStack() as opened, own_schema(mariadb_url) as direct:
        target = make_url(direct)
        assert target.port is not None
        proxy = await link.open(0, target.port)
        opened.push_async_callback(link.close)
        url = target.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        running = running_stack(tmp_path, lm_studio_url=scripted_url, env={"CHAT_WORKER_DATABASE_URL": url})
        # In a thread: the proxy has to turn while the stack starts and stops.
        stack = await asyncio.to_thread(running.__enter__)
        opened.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)

        @asynccontextmanager
        async def cut() -> AsyncIterator[None]:
            link.cut()
            async with open_client(stack.ws) as client:
                with pytest.raises(ClientError) as refused:
                    await client.ask("chat:history", timeout=20)
            assert refused.value.code == "service_unavailable"
            assert refused.value.frame["data"]["retryable"] is True
            yield
            link.mend()

        await survives(stack, scripted_url, cut())
        await ready(stack, "chat_worker-1")
