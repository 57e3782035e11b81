"""What a user sees when a part of the system dies, freezes or is stopped."""

import asyncio
import secrets
import signal
from pathlib import Path

import pytest
from sqlalchemy import make_url

from libs.client.connection import ClientError
from tests.clients import open_client
from tests.databases import own_schema
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import Watched, chatting, reached_model
from tests.system.stack import RunningStack, ready, running_stack, running_worker
from tests.waiting import until, until_answer

# 100 tokens, 50 a second: long enough to be killed in the middle.
LONG, LONG_TEXT = "paced-100-50", "".join(numbered_tokens(100))


async def chat_works(stack: RunningStack) -> None:
    """A whole chat on a new connection."""
    async with open_client(stack.ws) as client:
        watched = Watched()
        await watched.collect(client, "ainda funciona?", model="echo")
        assert watched.answer.text == expected_answer("ainda funciona?")


async def stop_in_the_middle(stack: RunningStack, scripted_url: str, how: signal.Signals) -> Watched:
    """A long answer whose worker gets a signal after some text."""
    message = f"interrompa {secrets.token_hex(4)}"
    async with open_client(stack.ws) as client, chatting(client, message, model=LONG) as chat:
        await until_answer(lambda: reached_model(scripted_url, message))
        await until(lambda: len(chat.answer.text) > 50)
        stack.signal(await running_worker(stack), how)
    return chat


async def test_an_answer_whose_worker_is_killed_is_begun_again_by_the_other(
    fragile: RunningStack, scripted_url: str
) -> None:
    """`reset` and a higher epoch; the whole text in the end, once."""
    chat = await stop_in_the_middle(fragile, scripted_url, signal.SIGKILL)
    assert chat.answer.done is not None
    assert chat.answer.message is not None
    assert (chat.answer.done["status"], chat.answer.done["epoch"]) == ("complete", 2)
    assert chat.answer.text == chat.answer.message["content"] == LONG_TEXT
    resets = [frame for frame in chat.frames if frame["data"].get("reset")]
    assert [frame["data"]["epoch"] for frame in resets] == [2]
    await ready(fragile, "chat_worker-1", "chat_worker-2")


async def test_an_answer_whose_worker_is_stopped_is_handed_to_the_other(
    fragile: RunningStack, scripted_url: str
) -> None:
    """SIGTERM: what is not finished within the grace period is given back at once."""
    chat = await stop_in_the_middle(fragile, scripted_url, signal.SIGTERM)
    assert chat.answer.done is not None
    assert (chat.answer.done["status"], chat.answer.done["epoch"]) == ("complete", 2)
    assert chat.answer.text == LONG_TEXT
    await ready(fragile, "chat_worker-1", "chat_worker-2")


async def test_nats_frozen_and_back_is_told_by_readiness_and_recovers_by_itself(fragile: RunningStack) -> None:
    """Stopped for a while: both services name it; afterwards everything works without a restart."""
    pids = {name: entry["pid"] for name, entry in fragile.entries().items()}
    fragile.signal("nats", signal.SIGSTOP)
    for name in ("gateway-1", "chat_worker-1"):
        await until_answer(lambda name=name: asyncio.to_thread(lambda: not fragile.is_ready(name)))  # type: ignore[misc]
        assert "nats" in fragile.probe(name, "/readyz").json()["failing"]
    fragile.signal("nats", signal.SIGCONT)
    await ready(fragile, "gateway-1", "chat_worker-1", "chat_worker-2")
    await chat_works(fragile)
    assert {name: entry["pid"] for name, entry in fragile.entries().items()} == pids


async def test_nats_killed_and_started_again_recovers_by_itself_under_open_sockets(fragile: RunningStack) -> None:
    """The client's connection lives through it."""
    async with open_client(fragile.ws) as client:
        before = await asyncio.to_thread(reconnects, fragile)
        fragile.signal("nats", signal.SIGKILL)
        await until_answer(lambda: asyncio.to_thread(lambda: reconnects(fragile) > before), seconds=20)
        await ready(fragile, "gateway-1", "chat_worker-1", "chat_worker-2")
        watched = Watched()
        await watched.collect(client, "voltou?", model="echo")
    assert watched.answer.text == expected_answer("voltou?")


def reconnects(stack: RunningStack) -> float:
    lines = stack.probe("gateway-1", "/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("gateway_bus_reconnects ")).split()[1])


async def test_a_model_server_that_is_away_is_said_at_once(
    fragile: RunningStack, scripted_url: str, tmp_path: Path
) -> None:
    """`model_unavailable`, retryable; the worker stays ready and reports it as optional."""
    readiness = (await asyncio.to_thread(fragile.probe, "chat_worker-1", "/readyz")).json()
    assert readiness["optional"] == {"model_server": "ok"}
    async with open_client(fragile.ws) as client:
        with pytest.raises(ClientError) as caught:
            await Watched().collect(client, "olá", model="hang-up")
    assert caught.value.code == "model_unavailable"
    assert caught.value.frame["data"]["retryable"] is True


async def test_one_grep_on_the_request_id_follows_a_message_and_no_text_is_in_any_log(fragile: RunningStack) -> None:
    """The gateway's line and the worker's lines; never what was said."""
    request_id, secret = secrets.token_hex(8), f"segredo {secrets.token_hex(8)}"
    async with open_client(fragile.ws) as client:
        await Watched().collect(client, secret, model="echo", requestId=request_id)
    names = fragile.entries().keys()

    def told() -> list[str]:
        return [name for name in names if request_id in fragile.log(name)]

    # The client may have the whole answer before what each of them logs of it has reached its file.
    await until(lambda: {name.partition("-")[0] for name in told()} >= {"gateway", "chat_worker"})
    assert "gateway-1" in told()
    assert {name.partition("-")[0] for name in told()} == {"gateway", "chat_worker"}
    said = (secret, expected_answer(secret)[:14])
    assert [name for name in names if any(text in fragile.log(name) for text in said)] == []


async def test_the_whole_stack_runs_on_mariadb(scripted_url: str, mariadb_url: str, tmp_path: Path) -> None:
    """Provisioned from empty, chats stored with every character intact."""
    async with own_schema(mariadb_url) as url:
        env = {"CHAT_WORKER_DATABASE_URL": make_url(url).render_as_string(hide_password=False)}
        with running_stack(tmp_path, lm_studio_url=scripted_url, env=env) as stack:
            async with open_client(stack.ws) as client:
                chats = [Watched() for _ in range(20)]
                questions = [f"coração {number} 😀👩‍👩‍👧" for number in range(20)]
                await asyncio.gather(
                    *(
                        chat.collect(client, question, model="echo")
                        for chat, question in zip(chats, questions, strict=True)
                    )
                )
            rows = await stack.rows("SELECT role, content FROM messages ORDER BY id")
    assert [chat.answer.text for chat in chats] == [expected_answer(question) for question in questions]
    assert sorted(content for role, content in rows if role == "user") == sorted(questions)
    assert sorted(content for role, content in rows if role == "assistant") == sorted(map(expected_answer, questions))
