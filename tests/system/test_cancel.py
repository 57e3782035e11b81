"""Cancelling: the model server sees it, the partial text is kept, everybody who watches is told."""

import asyncio
import secrets
from time import perf_counter

import pytest

from libs.client.connection import Client, ClientError
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import Watched, chatting, closed_at_model, reached_model
from tests.waiting import until, until_answer


async def test_cancelling_in_the_middle_keeps_the_text_and_closes_the_upstream_socket(
    client: Client, scripted_url: str
) -> None:
    """By message id, while tokens flow."""
    message = f"pare {secrets.token_hex(4)}"
    async with chatting(client, message, model="paced-400-50") as chat:
        await until(lambda: len(chat.answer.text) > 20)
        message_id = chat.frames[-1]["data"]["messageId"]
        started = perf_counter()
        cancelled = (await client.ask("chat:cancel", {"messageId": message_id}))["data"]
        assert (cancelled["messageId"], cancelled["status"]) == (message_id, "cancelled")
        await until_answer(lambda: closed_at_model(scripted_url, message))
        assert perf_counter() - started < 3
    answer = chat.answer
    assert answer.done is not None
    assert answer.message is not None
    assert answer.done["status"] == answer.message["status"] == "cancelled"
    assert answer.message["content"] == answer.text
    assert "".join(numbered_tokens(400)).startswith(answer.text)


async def test_cancelling_before_the_first_token_stops_the_model_too(client: Client, scripted_url: str) -> None:
    """By request id, from another connection's point of view: nothing has been said yet."""
    message, request_id = f"nada {secrets.token_hex(4)}", secrets.token_hex(8)
    async with chatting(client, message, model="held", requestId=request_id) as chat:
        await until_answer(lambda: reached_model(scripted_url, message))
        cancelled = (await client.ask("chat:cancel", {"requestId": request_id}))["data"]
        assert (cancelled["requestId"], cancelled["status"]) == (request_id, "cancelled")
        await until_answer(lambda: closed_at_model(scripted_url, message))
    assert chat.answer.done is not None
    assert chat.answer.done["status"] == "cancelled"
    assert chat.answer.text == ""


async def test_cancelling_a_message_that_waits_for_its_turn_never_reaches_the_model(
    client: Client, scripted_url: str
) -> None:
    """The one before it goes on."""
    conversation = (await client.ask("conversation:create"))["data"]["id"]
    first, second = f"primeira {secrets.token_hex(4)}", f"segunda {secrets.token_hex(4)}"
    waiting_id = secrets.token_hex(8)
    async with chatting(client, first, model="paced-100-50", conversationId=conversation) as running:
        await until(lambda: running.answer.text)
        async with chatting(client, second, model="echo", conversationId=conversation, requestId=waiting_id) as waiting:
            await until(lambda: any(frame["type"] == "chat:status" for frame in waiting.frames))
            status = next(frame["data"] for frame in waiting.frames if frame["type"] == "chat:status")
            assert (status["status"], status["position"]) == ("queued", 1)
            await client.ask("chat:cancel", {"requestId": waiting_id})
    assert running.answer.text == "".join(numbered_tokens(100))
    assert waiting.answer.done is not None
    assert waiting.answer.done["status"] == "cancelled"
    assert not await reached_model(scripted_url, second)


async def test_a_cancel_right_behind_its_request_is_never_too_early(client: Client) -> None:
    """The request may still be on its way to the database when the cancel is there."""
    for _ in range(20):
        request_id = secrets.token_hex(8)
        async with chatting(client, "pare já", model="paced-400-50", requestId=request_id) as chat:
            await asyncio.sleep(0)  # its frame goes out first
            cancelled = (await client.ask("chat:cancel", {"requestId": request_id}))["data"]
            assert cancelled["status"] == "cancelled"
        assert chat.answer.done is not None
        assert chat.answer.done["status"] == "cancelled"


async def test_cancelling_what_has_ended_changes_nothing_and_says_how_it_ended(client: Client) -> None:
    """The answer is `complete`, and stays so."""
    async with chatting(client, "fim", model="echo") as chat:
        pass
    assert chat.answer.message is not None
    cancelled = (await client.ask("chat:cancel", {"messageId": chat.answer.message["id"]}))["data"]
    assert cancelled["status"] == "complete"
    assert chat.answer.text == expected_answer("fim")


async def test_cancelling_what_does_not_exist_is_not_found(client: Client) -> None:
    """And without a word about what to cancel, the frame is invalid."""
    for data, code in (
        ({"messageId": 10**9}, "not_found"),
        ({"requestId": "nothing"}, "not_found"),
        ({}, "invalid_frame"),
    ):
        try:
            await client.ask("chat:cancel", data)
        except ClientError as error:
            assert error.code == code  # noqa: PT017 (three in a row)
        else:
            raise AssertionError(data)


async def test_leaving_never_cancels(client: Client, other: Client) -> None:
    """The asker is gone in the middle; the answer is finished and stored all the same."""
    conversation = (await client.ask("conversation:create"))["data"]["id"]
    leaving = asyncio.create_task(
        Watched().collect(other, "até logo", model="paced-40-50", conversationId=conversation)
    )
    await until_answer(lambda: _answering(client, conversation))
    leaving.cancel()
    await other.close()

    async def stored() -> bool:
        history = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
        return [message["status"] for message in history] == ["complete", "complete"]

    await until_answer(stored)
    history = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
    assert history[-1]["content"] == "".join(numbered_tokens(40))


async def _answering(client: Client, conversation: int) -> bool:
    history = await client.ask("chat:history", {"conversationId": conversation})
    return history["answering"] is not None


async def test_deleting_a_conversation_ends_the_answer_that_runs_in_it(client: Client, scripted_url: str) -> None:
    """Whoever watches is told; afterwards the conversation is not found."""
    conversation = (await client.ask("conversation:create"))["data"]["id"]
    message = f"apague {secrets.token_hex(4)}"
    async with chatting(client, message, model="paced-400-50", conversationId=conversation) as chat:
        await until(lambda: chat.answer.text)
        deleted = await client.ask("conversation:delete", {"conversationId": conversation})
        assert deleted["data"] == {"conversationId": conversation}
    assert chat.answer.done is not None
    assert chat.answer.done["status"] == "cancelled"
    assert await closed_at_model(scripted_url, message)
    with pytest.raises(ClientError, match="There is no conversation"):
        await client.ask("chat:history", {"conversationId": conversation})
