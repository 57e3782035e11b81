"""Chats as tests hold them: collected whole, watched while they run, and looked up at the scripted model server."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.client.connection import Answer, Client, Frame
from tests.http_client import HTTP


async def frames_of(client: Client, message: str, **data: Any) -> list[Frame]:
    return [frame async for frame in client.chat(message, timeout=30, **data)]


def assembled(frames: list[Frame]) -> Answer:
    answer = Answer()
    for frame in frames:
        answer.take(frame)
    return answer


def new_request_id() -> str:
    return secrets.token_hex(8)


async def new_conversation(client: Client) -> int:
    return int((await client.ask("conversation:create"))["data"]["id"])


class Watched:
    """A chat that is under way: the frames so far, and the task that collects them."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.frames: list[Frame] = []

    async def collect(self, client: Client, message: str, **data: Any) -> None:
        async for frame in client.chat(message, timeout=30, **data):
            self.answer.take(frame)
            self.frames.append(frame)


@asynccontextmanager
async def chatting(client: Client, message: str, **data: Any) -> AsyncIterator[Watched]:
    """A chat in the background; it has ended when the block is left."""
    watched = Watched()
    collecting = asyncio.create_task(watched.collect(client, message, **data))
    yield watched
    await asyncio.wait_for(collecting, 15)


async def call_at_model(scripted_url: str, message: str) -> dict[str, Any] | None:
    """The first request for an answer to this message."""
    calls = await calls_at_model(scripted_url)
    return next((call for call in calls if call["messages"][-1]["content"] == message), None)


async def closed_at_model(scripted_url: str, message: str) -> bool:
    call = await call_at_model(scripted_url, message)
    return call is not None and bool(call["closedByClient"])


async def reached_model(scripted_url: str, message: str) -> bool:
    return await call_at_model(scripted_url, message) is not None


async def calls_at_model(scripted_url: str) -> list[dict[str, Any]]:
    """The scripted server's own record of every request."""
    answer = await asyncio.to_thread(HTTP.get, f"{scripted_url}/scripted/requests")
    calls: list[dict[str, Any]] = answer.json()
    return calls


async def release_at_model(scripted_url: str) -> None:
    """Held answers go on."""
    await asyncio.to_thread(HTTP.post, f"{scripted_url}/scripted/release")
