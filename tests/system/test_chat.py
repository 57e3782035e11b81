"""A chat through all the real parts: gateway, NATS, worker, model server, database."""

import asyncio
import secrets

import pytest

from libs.client.connection import Answer, Client, ClientError, Frame
from tests.clients import open_client
from tests.scripted_model.answers import ANSWER_TEXT, THOUGHT_TEXT, expected_answer, numbered_tokens
from tests.system.chats import assembled, calls_at_model, frames_of, new_conversation, new_request_id
from tests.system.stack import RunningStack
from tests.waiting import until_answer


async def test_a_client_that_knows_only_part_a_works_on_a_fresh_installation(stack: RunningStack) -> None:
    """Ping, the history of conversation 1, a chat in conversation 1: exactly the frames that such clients expect."""
    async with open_client(stack.ws) as old:

        async def answer_to(frame: Frame) -> Frame:
            await old.send(frame)
            return await asyncio.wait_for(old.pushed.get(), 10)

        assert await answer_to({"type": "ping"}) == {"type": "pong"}
        history = await answer_to({"type": "chat:history", "data": {"conversationId": 1, "limit": 50}})
        assert history["type"] == "chat:history"
        assert history["data"] == []
        user = await answer_to({"type": "chat:send", "data": {"message": "Olá!", "conversationId": 1, "model": "echo"}})
        assert (user["type"], user["data"]["role"], user["data"]["content"]) == ("chat:message", "user", "Olá!")
        text = ""
        while not (frame := await asyncio.wait_for(old.pushed.get(), 10))["data"]["done"]:
            assert frame["type"] == "chat:streaming"
            text += frame["data"]["chunk"]
        assert frame["data"]["chunk"] == ""
        stored = await asyncio.wait_for(old.pushed.get(), 10)
        assert (stored["type"], stored["data"]["role"]) == ("chat:message", "assistant")
        assert stored["data"]["content"] == text == expected_answer("Olá!")
        assert isinstance(stored["data"]["id"], int)
        history = await answer_to({"type": "chat:history", "data": {"conversationId": 1}})
        assert [(m["id"], m["role"], m["content"]) for m in history["data"]] == [
            (user["data"]["id"], "user", "Olá!"),
            (stored["data"]["id"], "assistant", text),
        ]
        assert history["data"][0]["timestamp"].endswith("Z")


async def test_the_frames_of_an_answer_are_numbered_and_its_end_is_told_in_full(client: Client) -> None:
    """`messageId`, `epoch` and a gapless `seq`; status, usage and speed in the `done` frame; the id on every frame."""
    frames = await frames_of(client, "Quanto é 2 + 2?", model="paced-40-50", requestId=(request_id := new_request_id()))
    assert {frame["id"] for frame in frames} == {"1"}
    streaming = [frame["data"] for frame in frames if frame["type"] == "chat:streaming"]
    assert [data["seq"] for data in streaming] == list(range(1, len(streaming) + 1))
    assert {(data["messageId"], data["epoch"]) for data in streaming} == {(streaming[0]["messageId"], 1)}
    answer = assembled(frames)
    assert answer.text == "".join(numbered_tokens(40))
    assert answer.done is not None
    assert answer.message is not None
    assert answer.done["status"] == "complete"
    assert answer.done["finishReason"] == "stop"
    assert answer.done["usage"]["completionTokens"] == 40
    assert answer.done["ttftMs"] > 0
    assert 20 < answer.done["tokensPerSecond"] < 80
    assert answer.done["model"] == "paced-40-50"
    assert answer.message["id"] == answer.done["messageId"]
    assert answer.message["requestId"] == request_id


async def test_two_hundred_chats_at_once_are_all_answered_once_and_in_full(stack: RunningStack) -> None:
    """Through two gateways and two workers: 200 answers equal to what the model sent, 200 + 200 rows."""
    before = await _row_counts(stack)
    questions = [f"pergunta {number} 😀 {secrets.token_hex(4)}" for number in range(200)]

    async def chat(client: Client, question: str) -> Answer:
        return assembled(await frames_of(client, question, model="echo"))

    async with open_client(stack.gateways()[0]) as one, open_client(stack.gateways()[1]) as two:
        answers = await asyncio.gather(
            *(chat(two if number % 2 else one, question) for number, question in enumerate(questions))
        )
    assert [answer.text for answer in answers] == [expected_answer(question) for question in questions]
    assert [answer.message and answer.message["content"] for answer in answers] == [answer.text for answer in answers]
    after = await _row_counts(stack)
    assert {role: after[role] - before.get(role, 0) for role in after} == {"user": 200, "assistant": 200}
    shares = [stack.probe(f"chat_worker-{number}", "/metrics").text for number in (1, 2)]
    assert all('chat_worker_generations_total{state="complete"}' in share for share in shares), "both workers worked"


async def _row_counts(stack: RunningStack) -> dict[str, int]:
    rows = await stack.rows("SELECT role, COUNT(*) FROM messages GROUP BY role")
    return {str(role): int(count) for role, count in rows}


async def test_the_same_request_twice_at_once_gives_one_answer_and_both_askers_get_it(
    stack: RunningStack, client: Client, other: Client, scripted_url: str
) -> None:
    """Through two gateways at the same moment, and again by somebody who comes in the middle, and after the end."""
    request_id = new_request_id()
    message = f"uma vez só {request_id}"
    send = {"model": "paced-40-50", "requestId": request_id, "conversationId": await new_conversation(client)}

    async def late(seconds: float) -> list[Frame]:
        await asyncio.sleep(seconds)  # in the middle of an answer of 0.8 s
        return await frames_of(other, message, **send)

    at_once = await asyncio.gather(frames_of(client, message, **send), frames_of(other, message, **send), late(0.4))
    told = [*at_once, await frames_of(client, message, **send)]
    answers = [assembled(frames) for frames in told]
    assert {answer.text for answer in answers} == {"".join(numbered_tokens(40))}
    assert len({answer.message["id"] for answer in answers if answer.message}) == 1
    assert [frames[0]["type"] for frames in told] == ["chat:message"] * 4
    rows = await stack.rows("SELECT request_id, role FROM messages ORDER BY id")
    assert [role for of_request, role in rows if of_request == request_id] == ["user", "assistant"]
    asked = [call["messages"][-1]["content"] for call in await calls_at_model(scripted_url)]
    assert asked.count(message) == 1


async def test_messages_of_one_conversation_are_answered_in_order(client: Client, other: Client) -> None:
    """Ten sent at once, by two gateways to two workers: each one waits for those before it and sees their answers."""
    conversation = await new_conversation(client)
    sent: list[asyncio.Task[list[Frame]]] = []
    for number in range(10):
        asker = other if number % 2 else client
        chat = asyncio.create_task(frames_of(asker, f"mensagem {number}", model="echo", conversationId=conversation))
        # Accepted in this order: the next one is sent when this one is known to the system.
        await until_answer(lambda: _accepted(client, conversation, len(sent) + 1))
        sent.append(chat)
    told = await asyncio.gather(*sent)
    assert [assembled(frames).text for frames in told] == [expected_answer(f"mensagem {n}") for n in range(10)]
    history = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
    assert [(message["role"], message["content"]) for message in history] == [
        pair
        for number in range(10)
        for pair in (("user", f"mensagem {number}"), ("assistant", expected_answer(f"mensagem {number}")))
    ]
    assert [message["id"] for message in history] == sorted(message["id"] for message in history)


async def _accepted(client: Client, conversation: int, count: int) -> bool:
    messages = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
    return sum(1 for message in messages if message["role"] == "user") >= count


async def test_pipelined_messages_keep_the_order_in_which_one_client_sent_them(client: Client) -> None:
    """Sent in one go without waiting for anything; two workers may take them at the same moment."""
    conversation = await new_conversation(client)
    chats = [
        asyncio.create_task(frames_of(client, f"número {number}", model="echo", conversationId=conversation))
        for number in range(8)
    ]
    told = await asyncio.gather(*chats)
    queued = [frame["data"] for frames in told for frame in frames if frame["type"] == "chat:status"]
    assert {status["status"] for status in queued} == {"queued"}
    history = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
    assert [m["content"] for m in history if m["role"] == "user"] == [f"número {number}" for number in range(8)]
    assert [m["role"] for m in history] == ["user", "assistant"] * 8


async def test_the_conversation_is_the_models_context(client: Client, scripted_url: str) -> None:
    """System prompt first, then what was said before, then the new message."""
    conversation = await new_conversation(client)
    for message in ("primeira", "segunda"):
        await frames_of(client, message, model="echo", conversationId=conversation)
    call = (await calls_at_model(scripted_url))[-1]
    assert [(message["role"], message["content"]) for message in call["messages"]] == [
        ("system", "You are a helpful assistant."),
        ("user", "primeira"),
        ("assistant", expected_answer("primeira")),
        ("user", "segunda"),
    ]


@pytest.mark.parametrize("model", ["reasoning-content", "reasoning", "think-tags"])
async def test_the_reasoning_of_a_thinking_model_is_kept_apart_from_its_answer(client: Client, model: str) -> None:
    """In every dialect: a field of its own, live and stored."""
    frames = await frames_of(client, "pense", model=model)
    answer = assembled(frames)
    thought = "".join(frame["data"].get("reasoning", "") for frame in frames if frame["type"] == "chat:streaming")
    assert (answer.text, thought) == (ANSWER_TEXT, THOUGHT_TEXT)
    assert answer.message is not None
    assert answer.message["content"] == ANSWER_TEXT
    assert answer.message["reasoning"] == THOUGHT_TEXT


@pytest.mark.parametrize(
    ("model", "status", "code", "text"),
    [
        ("split-utf8", "complete", None, "é 😀 ção"),
        ("no-done", "complete", None, ANSWER_TEXT),
        ("eof", "interrupted", None, "Olá, tudo bem? Não há"),
        ("empty", "error", "model_error", ""),
        ("hang-up", "error", "model_unavailable", ""),
        ("no-such-model", "error", "model_not_found", ""),
    ],
)
async def test_every_answer_ends_with_an_honest_status(
    client: Client, model: str, status: str, code: str | None, text: str
) -> None:
    """Live, and the same in the history."""
    frames: list[Frame] = []
    error = None
    conversation = await new_conversation(client)
    try:
        async for frame in client.chat("Olá", timeout=20, model=model, conversationId=conversation):
            frames.append(frame)  # noqa: PERF401 (what came before the error counts)
    except ClientError as raised:
        error = raised
    answer = assembled(frames)
    assert answer.done is not None
    assert (answer.done["status"], answer.text, error and error.code) == (status, text, code)
    stored = (await client.ask("chat:history", {"conversationId": conversation}))["data"][-1]
    assert (stored["role"], stored["status"], stored["content"]) == ("assistant", status, text)
    assert stored.get("error", {}).get("code") == code
