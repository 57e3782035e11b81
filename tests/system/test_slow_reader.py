"""A client that stops reading in the middle of an answer, and then goes on with it elsewhere."""

import asyncio
import secrets

import pytest

from libs.client.connection import ClientError
from tests.clients import open_client
from tests.scripted_model.answers import numbered_tokens
from tests.system.chats import frames_of, new_conversation
from tests.system.faithful import Asked, not_as_seen
from tests.system.stack import RunningStack
from tests.waiting import until

LONG_MESSAGE = "x" * 50_000


def sent_away(stack: RunningStack) -> float:
    lines = stack.probe("gateway-1", "/metrics").text.splitlines()
    return sum(
        float(line.split()[1]) for line in lines if line.startswith('gateway_connections_closed_total{code="too_')
    )


@pytest.mark.thorough
async def test_who_was_sent_away_as_too_slow_resumes_completely(stack: RunningStack) -> None:
    """Its answer, and more histories than may wait for it: 4102, and every token once, at the other gateway."""
    here, elsewhere = stack.gateways()
    asked = Asked(f"devagar {secrets.token_hex(4)}", model="paced-400-50")
    before = await asyncio.to_thread(sent_away, stack)
    async with open_client(here) as slow:
        conversation = await new_conversation(slow)
        for _ in range(3):
            await frames_of(slow, LONG_MESSAGE, model="echo", conversationId=conversation)
        following = asyncio.create_task(asked.follow(slow))
        await until(lambda: asked.answer.text)
        slow._socket.transport.pause_reading()
        # The kernel takes some megabytes before anything waits in the gateway.
        while await asyncio.to_thread(sent_away, stack) == before:
            for _ in range(12):
                await slow.send({"type": "chat:history", "data": {"conversationId": conversation}})
        slow._socket.transport.resume_reading()
        with pytest.raises(ClientError) as gone:
            await following
    assert gone.value.code == "4102"
    assert not asked.answer.over
    await asked.finish([elsewhere])
    assert asked.answer.text == "".join(numbered_tokens(400))
    assert await not_as_seen(stack, [asked]) == []
