"""A faithful client: what it has asked for it repeats or resumes, at one gateway after the other, until it has it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from libs.client.connection import Answer, Client, ClientError
from tests.clients import open_client
from tests.system.stack import RunningStack

# The connection has ended in one way or another, or nobody listens there (yet).
GONE = (ConnectionClosed, InvalidHandshake, OSError, EOFError)
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.2


async def faithfully(ask: Callable[[Client], Awaitable[object]], urls: Sequence[str]) -> None:
    """Does `ask` until it succeeds. Raises what is said to be of no use to repeat."""
    tries = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with open_client(urls[tries % len(urls)]) as client:
                    await ask(client)
                    return
            except GONE:
                pass
            except ClientError as error:
                if not (ended(error) or error.frame["data"]["retryable"]):
                    raise
            tries += 1
            await asyncio.sleep(PAUSE_SECONDS)


def ended(error: ClientError) -> bool:
    """The connection, not the request."""
    return error.frame.get("type") != "error"


class Asked:
    """One `chat:send`, and what its client has seen of the answer so far."""

    def __init__(self, message: str, *, model: str) -> None:
        self.answer = Answer()
        self.request_id = secrets.token_hex(8)
        self.message = message
        self._model = model

    async def follow(self, client: Client) -> None:
        """To the end, from where it was. Raises `ClientError` or one of `GONE` when the connection ends first."""
        answer = self.answer
        if answer.message_id is None:
            told = client.chat(self.message, timeout=30, requestId=self.request_id, model=self._model)
        else:
            told = client.resume(answer.message_id, answer.epoch, answer.seq, text=answer.text, timeout=30)
        async for frame in told:
            answer.take(frame)

    async def finish(self, urls: Sequence[str]) -> None:
        """To the end, whatever happens to connections."""
        if not self.answer.over:
            await faithfully(self.follow, urls)


async def not_as_seen(stack: RunningStack, asked: Sequence[Asked]) -> list[str]:
    """The requests whose rows are not exactly one question, and one complete answer with the text that was seen."""
    rows = await stack.rows("SELECT request_id, role, status, content FROM messages ORDER BY id")
    stored: dict[str, list[tuple[str, str, str]]] = {}
    for request_id, role, status, content in rows:
        stored.setdefault(request_id, []).append((role, status, "" if role == "user" else content))
    return [
        one.request_id
        for one in asked
        if stored.get(one.request_id) != [("user", "complete", ""), ("assistant", "complete", one.answer.text)]
    ]
