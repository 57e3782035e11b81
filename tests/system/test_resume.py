"""Going on with an answer: from anywhere, in the middle, before its first word, after its end, whatever dies."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.client.connection import Answer, Client, ClientError, Frame
from tests.clients import open_client
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import chatting, new_conversation, reached_model, release_at_model
from tests.system.stack import WORKERS, RunningStack, ready, running_worker
from tests.waiting import until, until_answer


class Tab:
    """A client that has resumed an answer: the frames so far, and what it makes of them."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.frames: list[Frame] = []

    async def collect(self, client: Client, message_id: int, seen: Answer | None = None) -> None:
        if seen is not None:
            self.answer.text, self.answer.epoch, self.answer.seq = seen.text, seen.epoch, seen.seq
            told = client.resume(message_id, seen.epoch, seen.seq, text=seen.text, timeout=30)
        else:
            told = client.resume(message_id, timeout=30)
        async for frame in told:
            self.answer.take(frame)
            self.frames.append(frame)


@asynccontextmanager
async def resuming(client: Client, message_id: int, seen: Answer | None = None) -> AsyncIterator[Tab]:
    """An answer resumed in the background; it has ended when the block is left."""
    tab = Tab()
    collecting = asyncio.create_task(tab.collect(client, message_id, seen))
    yield tab
    await asyncio.wait_for(collecting, 30)


async def stored(stack: RunningStack, message_id: int) -> tuple[str, str]:
    """How an answer stands in the database: status and text."""
    rows = await stack.rows("SELECT id, status, content FROM messages")
    return next((str(status), str(content)) for row_id, status, content in rows if row_id == message_id)


def message_id_of(answer: Answer) -> int:
    assert answer.message_id is not None
    return answer.message_id


async def killed_below(client: Client, stack: RunningStack, seen: Answer, message: str) -> None:
    """A chat whose gateway is killed in the middle; raises what that ends with."""
    gone = False
    async for frame in client.chat(message, timeout=30, model="paced-100-50"):
        seen.take(frame)
        if len(seen.text) > 60 and not gone:
            gone = True
            stack.signal("gateway-2", signal.SIGKILL)


async def broken_off(client: Client, message: str, *, characters: int, **data: object) -> Answer:
    """What a client has seen of an answer when it stops looking."""
    answer = Answer()
    async for frame in client.chat(message, timeout=30, **data):
        answer.take(frame)
        if len(answer.text) > characters:
            break
    return answer


async def test_an_answer_goes_on_at_another_gateway_where_it_was_left(stack: RunningStack, other: Client) -> None:
    """Exactly the missing text, as one piece, then the rest; together the stored text."""
    async with open_client(stack.gateways()[0]) as leaving:
        seen = await broken_off(leaving, "continue", characters=60, model="paced-100-50")
    before = seen.text
    async with resuming(other, message_id_of(seen), seen) as tab:
        pass
    assert [frame["type"] for frame in tab.frames[:2]] == ["chat:resumed", "chat:streaming"]
    assert tab.frames[0]["data"]["status"] == "streaming"
    assert not any(frame["data"].get("reset") for frame in tab.frames)
    assert tab.answer.text.startswith(before)
    assert await stored(stack, message_id_of(seen)) == ("complete", "".join(numbered_tokens(100)))
    assert tab.answer.text == "".join(numbered_tokens(100))
    assert tab.answer.message is not None
    assert tab.answer.message["content"] == tab.answer.text


async def test_ten_tabs_at_once_and_the_asker_all_see_the_same(stack: RunningStack, client: Client) -> None:
    """At both gateways, all from the beginning, in the middle of the answer."""
    async with chatting(client, "dez abas", model="paced-100-50") as chat:
        await until(lambda: len(chat.answer.text) > 60)
        async with open_client(stack.gateways()[0]) as one, open_client(stack.gateways()[1]) as two:
            tabs = [Tab() for _ in range(10)]
            await asyncio.gather(
                *(
                    tab.collect(two if number % 2 else one, message_id_of(chat.answer))
                    for number, tab in enumerate(tabs)
                )
            )
    assert {tab.answer.text for tab in tabs} == {chat.answer.text} == {"".join(numbered_tokens(100))}
    for tab in tabs:
        assert [bool(frame["data"].get("reset")) for frame in tab.frames[:3]] == [False, True, False]
        assert tab.answer.message == chat.answer.message


async def test_an_answer_found_in_the_history_is_joined_before_its_first_word(
    client: Client, other: Client, scripted_url: str
) -> None:
    """The model still reads the prompt; nothing is shown until it speaks, and then all of it."""
    conversation, message = await new_conversation(client), f"espere {secrets.token_hex(4)}"
    async with chatting(client, message, model="held", conversationId=conversation) as chat:
        await until_answer(lambda: reached_model(scripted_url, message))
        answering = (await other.ask("chat:history", {"conversationId": conversation}))["answering"]
        assert answering["status"] == "streaming"
        async with resuming(other, answering["messageId"]) as tab:
            await until(lambda: tab.frames)
            await release_at_model(scripted_url)
    assert [frame["type"] for frame in tab.frames[:2]] == ["chat:resumed", "chat:streaming"]
    assert tab.answer.text == chat.answer.text == expected_answer(message)


@pytest.mark.parametrize("seen", [0, 1, 50, 10_000])
async def test_an_ended_answer_comes_whole_from_the_database(client: Client, other: Client, seen: int) -> None:
    """Wherever the client was: the text at once, the end, the stored message."""
    question = f"acabou {seen}"
    async with chatting(client, question, model="echo") as chat:
        pass
    answer = Answer()
    async for frame in other.resume(message_id_of(chat.answer), 1 if seen else 0, seen, timeout=10):
        answer.take(frame)
    assert answer.text == expected_answer(question)
    assert answer.message == chat.answer.message
    assert answer.done is not None
    assert answer.done["usage"] == (chat.answer.done or {})["usage"]


async def test_who_knows_only_the_request_gets_its_answer_from_the_beginning(client: Client, other: Client) -> None:
    """A client that lost its connection before the first frame."""
    request_id = secrets.token_hex(8)
    async with chatting(client, "por pedido", model="paced-40-50", requestId=request_id) as chat:
        await until(lambda: chat.answer.text)
        await other.send({"type": "chat:resume", "id": "r", "data": {"requestId": request_id, "seq": 4711}})
        answer = Answer()
        while not answer.over:
            frame = await asyncio.wait_for(other.pushed.get(), 10)
            assert frame["id"] == "r"
            answer.take(frame)
    assert answer.text == "".join(numbered_tokens(40))


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "invalid_frame"),
        ({"messageId": 10**15}, "not_found"),
        ({"requestId": "never-heard-of"}, "not_found"),
        ({"messageId": 0}, "invalid_frame"),
        ({"messageId": 1, "epoch": -1}, "invalid_frame"),
    ],
)
async def test_what_cannot_be_resumed_is_said(client: Client, asked: dict[str, object], code: str) -> None:
    """Under the request's id; the socket stays."""
    with pytest.raises(ClientError) as caught:
        await client.ask("chat:resume", asked)
    assert caught.value.code == code
    await client.ask("ping")


async def test_a_position_that_never_was_is_refused(client: Client) -> None:
    """The epoch is higher than any that the answer has had."""
    async with chatting(client, "que época", model="echo") as chat:
        pass
    with pytest.raises(ClientError) as caught:
        await client.ask("chat:resume", {"messageId": message_id_of(chat.answer), "epoch": 2, "seq": 1})
    assert caught.value.code == "invalid_frame"


async def test_two_tabs_at_another_gateway_live_through_the_death_of_the_worker(fragile: RunningStack) -> None:
    """Neither has a request in the queue: their gateway asks until another worker has the answer, and begins anew."""
    async with (
        open_client(fragile.gateways()[0]) as asker,
        open_client(fragile.gateways()[1]) as one,
        open_client(fragile.gateways()[1]) as two,
        chatting(asker, "duas abas", model="paced-100-50") as chat,
    ):
        await until(lambda: len(chat.answer.text) > 40)
        message_id = message_id_of(chat.answer)
        async with resuming(one, message_id) as first, resuming(two, message_id) as second:
            await until(lambda: len(first.answer.text) > 60 and len(second.answer.text) > 60)
            fragile.signal(await running_worker(fragile), signal.SIGKILL)
    for tab in (chat, first, second):
        assert tab.answer.text == "".join(numbered_tokens(100))
        assert tab.answer.epoch == 2
        assert [frame["data"]["epoch"] for frame in tab.frames if frame["data"].get("reset")][-1] == 2
    assert await stored(fragile, message_id) == ("complete", chat.answer.text)
    await ready(fragile, *WORKERS)


async def test_an_asker_that_died_with_its_gateway_goes_on_at_another(fragile: RunningStack) -> None:
    """SIGKILL of the gateway in the middle of the answer."""
    async with open_client(fragile.gateways()[1]) as leaving, open_client(fragile.gateways()[0]) as coming:
        seen = Answer()
        with pytest.raises(ClientError, match="closed"):
            await killed_below(leaving, fragile, seen, "gateway morto")
        async with resuming(coming, message_id_of(seen), seen) as tab:
            pass
    assert tab.answer.text == "".join(numbered_tokens(100))
    await ready(fragile, "gateway-2")


async def test_an_answer_cancelled_before_anybody_ran_it_can_be_resumed_too(
    client: Client, other: Client, scripted_url: str
) -> None:
    """It has no epoch of its own; who watched it, and who comes later, are told its end."""
    conversation, request_id = await new_conversation(client), secrets.token_hex(8)
    message = f"antes {secrets.token_hex(4)}"
    async with chatting(client, message, model="held", conversationId=conversation):
        await until_answer(lambda: reached_model(scripted_url, message))
        async with chatting(
            client, "nunca", model="echo", conversationId=conversation, requestId=request_id
        ) as waiting:
            await until(lambda: any(frame["type"] == "chat:status" for frame in waiting.frames))
            await other.ask("chat:cancel", {"requestId": request_id})
        await release_at_model(scripted_url)
    done = waiting.answer.done
    assert done is not None
    assert done["status"] == "cancelled"
    for seen in (0, 2):
        answer = Answer()
        async for frame in other.resume(done["messageId"], min(seen, 1), seen, timeout=10):
            answer.take(frame)
        assert answer.done == done
