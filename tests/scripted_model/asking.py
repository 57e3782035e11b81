"""Asks the scripted model through the real client, and keeps what came back for whole comparisons."""

from typing import NamedTuple

from libs.contract.chat import ChatOptions, Role
from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.context import Message
from services.chat_worker.lm_studio.client import End, ModelClient, Prompt
from services.chat_worker.lm_studio.completion import Piece
from services.chat_worker.lm_studio.server import open_model_server

QUESTION = "Tudo bem? 😀"


class Heard(NamedTuple):
    """One answer as the caller of the client sees it."""

    text: str
    reasoning: str
    end: End | None
    failure: RequestError | None
    reads: int

    @property
    def code(self) -> ErrorCode | None:
        return self.failure.code if self.failure else None


def prompt(model: str, options: ChatOptions | None = None, *, question: str = QUESTION) -> Prompt:
    return Prompt(model, [Message(Role.USER, question)], options, context_length=4096)


async def ask(url: str, model: str, options: ChatOptions | None = None, **deadlines: float) -> Heard:
    """Asks `QUESTION` with a client of its own; `deadlines` are those of `ModelClient`."""
    async with open_model_server(url, "sk-test") as server:
        return await hear(ModelClient(server, **deadlines), prompt(model, options))


async def hear(client: ModelClient, asked: Prompt) -> Heard:
    """The whole answer, up to its end or failure."""
    pieces: list[Piece] = []
    end: End | None = None
    failure = None

    def take(piece: Piece) -> bool:
        pieces.append(piece)
        return True

    try:
        end = await client.answer(asked, take)
    except RequestError as error:
        failure = error
    text = "".join(piece.text for piece in pieces)
    return Heard(text, "".join(piece.reasoning for piece in pieces), end, failure, len(pieces))
