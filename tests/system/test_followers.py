"""Several askers of one answer, whatever happens to its worker, to NATS, or to the answer meanwhile."""

import asyncio
import secrets
import signal
from collections import Counter

import pytest

from tests.clients import open_client
from tests.scripted_model.answers import expected_answer, numbered_tokens
from tests.system.chats import Watched, chatting, new_request_id
from tests.system.stack import WORKERS, RunningStack, ready, running_worker
from tests.waiting import until, until_answer


def seen(watched: Watched) -> Counter[tuple[int, int]]:
    """How often each position of the answer was shown."""
    streaming = [frame["data"] for frame in watched.frames if frame["type"] == "chat:streaming"]
    return Counter((data["epoch"], data["seq"]) for data in streaming)


def whole(watched: Watched, tokens: int) -> bool:
    """Complete, and the stored message says the same."""
    answer = watched.answer
    text = "".join(numbered_tokens(tokens))
    return answer.done is not None and answer.message is not None and answer.text == answer.message["content"] == text


def nothing_in_hand(stack: RunningStack) -> bool:
    return all("chat_worker_requests_in_hand 0.0" in stack.probe(name, "/metrics").text for name in WORKERS)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_who_joined_an_answer_sees_its_end_although_its_worker_goes_away(
    fragile: RunningStack, how: signal.Signals
) -> None:
    """Both askers get the whole text from the next worker."""
    request = {"model": "paced-100-50", "requestId": new_request_id()}
    async with (
        open_client(fragile.ws) as one,
        open_client(fragile.ws) as two,
        chatting(one, "juntos", **request) as first,
    ):
        await until(lambda: first.answer.text)
        async with chatting(two, "juntos", **request) as second:
            await until(lambda: second.answer.text)
            fragile.signal(await running_worker(fragile), how)
    assert whole(first, 100)
    assert whole(second, 100)
    await ready(fragile, *WORKERS)


@pytest.mark.thorough
async def test_a_thawed_worker_takes_nothing_away_from_the_one_that_took_over(fragile: RunningStack) -> None:
    """Frozen, replaced, thawed; then the other one dies: the answer is begun once more and finished."""
    async with open_client(fragile.ws) as client, chatting(client, "acorde", model="paced-150-50") as chat:
        await until(lambda: len(chat.answer.text) > 50)
        frozen = await running_worker(fragile)
        fragile.signal(frozen, signal.SIGSTOP)
        await until(lambda: (2, 3) in seen(chat))
        other = next(name for name in WORKERS if name != frozen)
        fragile.signal(frozen, signal.SIGCONT)
        await ready(fragile, frozen)
        await until(lambda: (2, 30) in seen(chat))
        fragile.signal(other, signal.SIGKILL)
    assert whole(chat, 150)
    assert chat.answer.done is not None
    assert chat.answer.done["epoch"] == 3
    await ready(fragile, *WORKERS)


@pytest.mark.thorough
async def test_nothing_is_shown_twice_when_nats_was_frozen(fragile: RunningStack) -> None:
    """The queue item comes again to whoever is free, and finds its asker already there."""
    async with open_client(fragile.ws) as client:
        async with chatting(client, "gelo", model="paced-400-50") as chat:
            await until(lambda: len(chat.answer.text) > 50)
            fragile.signal("nats", signal.SIGSTOP)
            # Longer than the ack wait of 3 s, shorter than the 10 s after which clients reconnect.
            await asyncio.sleep(6)
            fragile.signal("nats", signal.SIGCONT)
        await until_answer(lambda: asyncio.to_thread(nothing_in_hand, fragile))
        await client.ask("ping")
        late = client.pushed.qsize()
    assert late == 0
    assert whole(chat, 400)
    assert max(seen(chat).values()) == 1
    types = Counter(frame["type"] for frame in chat.frames)
    assert types["chat:message"] == 2
    await ready(fragile, "gateway-1", *WORKERS)


async def test_a_repeat_that_meets_the_end_of_its_answer_is_told_it(fragile: RunningStack) -> None:
    """At whatever moment it comes: while the answer runs, ends, or has just ended."""
    async with open_client(fragile.ws) as one, open_client(fragile.ws) as two:

        async def ask_twice(number: int) -> None:
            request = {"model": "echo", "requestId": new_request_id()}
            question = f"eco {number} {secrets.token_hex(4)}"
            async with chatting(one, question, **request) as first:
                await asyncio.sleep(number * 0.001)  # the moment to be tried
                async with chatting(two, question, **request) as second:
                    pass
            assert first.answer.text == second.answer.text == expected_answer(question)
            assert second.answer.message is not None

        for start in range(0, 120, 10):
            await asyncio.gather(*(ask_twice(number) for number in range(start, start + 10)))


async def test_the_conversation_goes_on_after_all_that(fragile: RunningStack) -> None:
    """No answer is left unfinished anywhere."""

    async def none_unfinished() -> bool:
        rows = await fragile.rows("SELECT id FROM messages WHERE status IN ('pending', 'streaming')")
        return rows == []

    await until_answer(none_unfinished)
