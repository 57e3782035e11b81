"""Requests that outlive what happens to them: frozen and dying workers, and a NATS that has forgotten everything."""

import asyncio
import secrets
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from libs.bus.connection import connect
from libs.bus.last_values import last_values
from libs.client.connection import ClientError
from libs.contract import frames, streams
from libs.contract.frames import ClientRequest
from libs.contract.generations import DeadLetter
from libs.database.engine import opened_engine
from libs.local_stack.data_folder import DataFolder
from tests.clients import open_client
from tests.on_the_bus import listening
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import Watched, assembled, chatting, frames_of, new_conversation, reached_model
from tests.system.stack import WORKERS, RunningStack, ready, running_stack, running_worker
from tests.waiting import until, until_answer

pytestmark = pytest.mark.thorough


async def test_a_worker_that_was_frozen_for_ten_seconds_shows_nothing_when_it_wakes_up(
    fragile: RunningStack,
) -> None:
    """Its lease is 3 s. Heard at the bus itself: not one piece of its epoch after its successor has begun."""
    pieces: list[dict[str, Any]] = []

    def hear(_: str, message: bytes) -> None:
        told = [frame for frame in frames.separated(message) if frames.frame_type(frame) == "chat:streaming"]
        pieces.extend(msgspec.json.decode(frames.data_of(frame)) for frame in told)

    async with (
        connect(fragile.entries()["nats"]["url"], name="test") as bus,
        listening(bus, "reply.>", hear),
        open_client(fragile.ws) as client,
        chatting(client, "degelo", model="paced-400-50") as chat,
    ):
        await until(lambda: len(chat.answer.text) > 50)
        frozen = await running_worker(fragile)
        fragile.signal(frozen, signal.SIGSTOP)
        # The model server goes on sending to it.
        await asyncio.sleep(10)
        assert chat.answer.epoch == 2
        seen = len(pieces)
        fragile.signal(frozen, signal.SIGCONT)
        await ready(fragile, frozen)
        await until(lambda: chat.answer.done, seconds=20)
        assert [piece for piece in pieces[seen:] if piece["epoch"] != 2] == []
    assert chat.answer.text == "".join(numbered_tokens(400))
    assert chat.answer.message is not None
    assert chat.answer.message["content"] == chat.answer.text


async def test_a_poisoned_request_ends_as_an_error_and_blocks_nobody(fragile: RunningStack, scripted_url: str) -> None:
    """It kills its worker three times: it is told, a letter is kept, and the next request is answered."""
    poison, request_id = f"veneno {secrets.token_hex(4)}", secrets.token_hex(8)
    async with open_client(fragile.ws) as client:
        conversation = await new_conversation(client)
        watched = Watched()
        asking = asyncio.create_task(
            watched.collect(client, poison, model="stall", conversationId=conversation, requestId=request_id)
        )
        await until_answer(lambda: reached_model(scripted_url, poison))
        behind = asyncio.create_task(frames_of(client, "e eu?", model="echo", conversationId=conversation))
        for epoch in (1, 2, 3):
            while (watched.answer.epoch, len(watched.answer.text) > 20) != (epoch, True):  # noqa: ASYNC110 (see `until`)
                await asyncio.sleep(0.01)
            fragile.signal(await running_worker(fragile), signal.SIGKILL)
        (failed,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(failed, ClientError)
        assert failed.code == "internal"
        done = watched.answer.done
        assert done is not None
        assert (done["status"], done["finishReason"], done["error"]["code"]) == ("error", "gave_up", "internal")
        assert assembled(await behind).message is not None
    async with connect(fragile.entries()["nats"]["url"], name="test") as bus:
        (kept,) = await last_values(bus, streams.CHAT_DEAD_LETTERS)
    letter = msgspec.json.decode(kept.payload, type=DeadLetter)
    assert (letter.message_id, letter.request_id, letter.attempts) == (done["messageId"], request_id, 3)
    assert letter.reason == done["error"]["message"]
    assert msgspec.json.decode(msgspec.json.decode(letter.request, type=ClientRequest).data)["message"] == poison
    await ready(fragile, *WORKERS)


async def test_requests_are_answered_although_nats_has_lost_its_store(scripted_url: str, tmp_path: Path) -> None:
    """An answer that was running and one that waited behind it, with their models; both exactly once."""
    first, second = f"perdida {secrets.token_hex(4)}", f"atrás {secrets.token_hex(4)}"
    env = {"CHAT_WORKER_GRACE_SECONDS": "0.1"}
    with running_stack(tmp_path, lm_studio_url=scripted_url, env=env) as stack:
        async with open_client(stack.ws) as client:
            for message, model in ((first, "paced-400-50"), (second, "echo")):
                await client.send(
                    {"type": "chat:send", "data": {"message": message, "model": model, "conversationId": 1}}
                )
                await until(lambda: client.pushed.qsize() > 0)
            await until_answer(lambda: reached_model(scripted_url, first))
            await until_answer(lambda: unfinished(stack, 2))
    data = DataFolder(stack.data)
    shutil.rmtree(data.nats)
    async with opened_engine(data.database_url("chat_worker")) as engine, engine.begin() as connection:
        # As if they had been lost for a minute; and so that the first one ends sooner.
        await connection.execute(
            text("UPDATE messages SET updated_at = '2026-01-02 03:04:05.000000', asked_model = 'echo'")
        )
    with running_stack(tmp_path, lm_studio_url=scripted_url, env=env) as stack:
        await until_answer(lambda: unfinished(stack, 1), seconds=30)
        async with opened_engine(data.database_url("chat_worker")) as engine, engine.begin() as connection:
            await connection.execute(
                text("UPDATE messages SET updated_at = '2026-01-02 03:04:05.000000' WHERE status = 'pending'")
            )
        await until_answer(lambda: unfinished(stack, 0), seconds=30)
        rows = await stack.rows("SELECT status, content FROM messages WHERE role = 'assistant' ORDER BY id")
    assert [tuple(row) for row in rows] == [("complete", expected_answer(first)), ("complete", expected_answer(second))]


async def unfinished(stack: RunningStack, count: int) -> bool:
    rows = await stack.rows("SELECT id FROM messages WHERE status IN ('pending', 'streaming')")
    return len(rows) == count
