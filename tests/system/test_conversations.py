"""Conversations and their history, as a client sees them."""

import pytest

from libs.client.connection import Client, ClientError, Frame
from tests.system.chats import assembled, frames_of, new_conversation, new_request_id


async def test_without_a_conversation_a_new_one_is_opened_and_named_after_the_message(client: Client) -> None:
    """`chat:send` says its id; `chat:history` without an id then takes it, because it is the most recent."""
    answer = assembled(await frames_of(client, "Como fazer pão?", model="echo"))
    assert answer.message is not None
    conversation = answer.message["conversationId"]
    listed = (await client.ask("conversation:list"))["data"]["conversations"]
    assert (listed[0]["id"], listed[0]["title"]) == (conversation, "Como fazer pão?")
    history = await client.ask("chat:history")
    assert history["conversationId"] == conversation
    assert [message["content"] for message in history["data"]] == [
        "Como fazer pão?",
        answer.text,
    ]


async def test_models_are_listed_with_what_is_known_of_them(client: Client) -> None:
    """The loaded context length, which is what counts, and the most the model could do."""
    listed = (await client.ask("model:list"))["data"]
    by_id = {model["id"]: model for model in listed["models"]}
    assert listed["default"] in by_id
    assert by_id["echo"]["contextLength"] <= by_id["echo"]["maxContextLength"]


async def test_conversations_are_created_renamed_listed_and_paged(client: Client) -> None:
    """And the same `requestId` creates one conversation however often it is sent."""
    request_id = new_request_id()
    created = [await client.ask("conversation:create", {"title": "Férias", "requestId": request_id}) for _ in range(2)]
    ids = {frame["data"]["id"] for frame in created}
    assert len(ids) == 1
    conversation = ids.pop()
    renamed = await client.ask("conversation:rename", {"conversationId": conversation, "title": "Férias 🏖️"})
    assert (renamed["type"], renamed["data"]["title"]) == ("conversation:renamed", "Férias 🏖️")
    page = (await client.ask("conversation:list", {"limit": 1}))["data"]
    assert len(page["conversations"]) == 1
    rest = (await client.ask("conversation:list", {"limit": 200, "before": page["cursor"]}))["data"]
    seen = [*page["conversations"], *rest["conversations"]]
    assert len({listed["id"] for listed in seen}) == len(seen)
    assert conversation in {listed["id"] for listed in seen}


async def test_history_is_paged_backwards_without_gap_or_repeat(client: Client) -> None:
    """`before` the first id of the page before; `hasMore` says when it was the last."""
    conversation = await new_conversation(client)
    for number in range(4):
        await frames_of(client, f"página {number}", model="echo", conversationId=conversation)
    pages: list[list[Frame]] = []
    before: dict[str, int] = {}
    while True:
        page = await client.ask("chat:history", {"conversationId": conversation, "limit": 3, **before})
        pages.insert(0, page["data"])
        if not page["hasMore"]:
            break
        before = {"before": page["data"][0]["id"]}
    assert [len(page) for page in pages] == [2, 3, 3]
    contents = [message["content"] for page in pages for message in page if message["role"] == "user"]
    assert contents == [f"página {number}" for number in range(4)]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "chat:history", "data": {"conversationId": 10**9}},
        {"type": "chat:send", "data": {"message": "hello", "conversationId": 10**9}},
        {"type": "conversation:rename", "data": {"conversationId": 10**9, "title": "x"}},
        {"type": "conversation:delete", "data": {"conversationId": 10**9}},
    ],
)
async def test_unknown_ids_are_not_found_and_the_socket_lives(client: Client, frame: Frame) -> None:
    """An error frame with a sentence, then business as usual."""
    with pytest.raises(ClientError) as caught:
        await client.ask(frame["type"], frame["data"])
    assert caught.value.code == "not_found"
    await client.ask("ping")
