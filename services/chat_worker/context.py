"""Chooses what the model gets to read: the system prompt, as much of the conversation as fits, the new message.

The limit is the *loaded* context length, which is often a fraction of what the model could do. What does not fit is
left out from the oldest end, whole messages at a time, and counted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from libs.contract.chat import Role

# The protocol promises the last 10 messages; more when they fit.
USUAL_MESSAGES = 10
MOST_MESSAGES = 200

# Role markers and turn separators of the usual chat templates are 4 to 7 tokens a message.
TOKENS_PER_MESSAGE = 8

_WORD_BYTES = b"abcdefghijklmnopqrstuvwxyz "
_BEYOND_ASCII = bytes(range(128, 256))


class Message(Struct, frozen=True):
    """One message as the model server takes it."""

    role: Role
    content: str


class Context(NamedTuple):
    """What to send, oldest first, and how many messages of the conversation stayed out."""

    messages: list[Message]
    left_out: int


def estimate_tokens(text: str) -> int:
    """How many tokens a text costs, without the model's tokenizer: rather too many than too few.

    A third for every small ASCII letter and space, one for every other ASCII character, three quarters for every byte
    beyond. Measured against the 49,152 tokens of SmolLM2, a small vocabulary that knows little but English, this is
    1.0 to 1.6 times the truth for English, Portuguese, Russian, Chinese, Japanese, code, numbers, emoji and blank
    space, and 0.9 for base64; larger vocabularies need fewer.

    >>> estimate_tokens("Olá, tudo bem?")
    8
    """
    data = text.encode("utf-8", "replace")
    words = len(data) - len(data.translate(None, _WORD_BYTES))
    beyond = len(data) - len(data.translate(None, _BEYOND_ASCII))
    other = len(data) - words - beyond
    return -(-(4 * words + 12 * other + 9 * beyond) // 12)


def fit(
    *,
    system: str,
    history: Sequence[tuple[Role, str]],
    message: str,
    context_length: int | None,
    max_tokens: int | None = None,
) -> Context:
    """Fits a conversation into a context of `context_length` tokens; None: unknown, so the last 10 messages are sent.

    `history` is newest first, without the new `message`. `max_tokens` is the longest answer asked for; that much stays
    free, but at most half of the context (without it: a quarter, at most 1024). The system prompt and the new message
    always go along; whether they alone are too long is for the model server to say.
    """
    first = [Message(Role.SYSTEM, system)] if system else []
    last = Message(Role.USER, message)
    if context_length is None:
        chosen = list(history[:USUAL_MESSAGES])
    else:
        room = context_length - _reserve(context_length, max_tokens) - cost([*first, last])
        chosen = _newest_that_fit(history[:MOST_MESSAGES], room)
    while chosen and chosen[-1][0] is not Role.USER:
        # Templates of Gemma and Mistral refuse a conversation that starts with an answer.
        chosen.pop()
    past = [Message(role, content) for role, content in reversed(chosen)]
    return Context([*first, *_alternating([*past, last])], len(history) - len(chosen))


def cost(messages: Sequence[Message]) -> int:
    """How many tokens these messages cost at most, roughly."""
    return sum(estimate_tokens(message.content) + TOKENS_PER_MESSAGE for message in messages)


def _reserve(context_length: int, max_tokens: int | None) -> int:
    if max_tokens is None:
        return min(1024, context_length // 4)
    return min(max_tokens, context_length // 2)


def _newest_that_fit(history: Sequence[tuple[Role, str]], room: int) -> list[tuple[Role, str]]:
    chosen = []
    for role, content in history:
        room -= estimate_tokens(content) + TOKENS_PER_MESSAGE
        if room < 0:
            break
        chosen.append((role, content))
    return chosen


def _alternating(messages: Sequence[Message]) -> list[Message]:
    """Joins neighbours of one role: a question whose answer failed is followed by the next question, and the same
    templates that want a user first want the roles to alternate."""
    joined: list[Message] = []
    for message in messages:
        if joined and joined[-1].role is message.role:
            joined[-1] = Message(message.role, f"{joined[-1].content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined
