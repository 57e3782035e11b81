"""What the scripts say, so that a test can compare it with what arrived."""

import hashlib
import secrets

ANSWER = [
    "Olá",
    ", tudo",
    " bem? ",
    "Não",
    " há",
    " de quê",
    " 😀",
    "👩‍👩‍👧",
    " 2 + 2",
    " = 4",
    ".\n",
    "Até",
    " amanhã! ✅",
]
THOUGHT = ["Primeiro", " penso…", " 🤔", "\n", "então", " respondo."]

ANSWER_TEXT = "".join(ANSWER)
THOUGHT_TEXT = "".join(THOUGHT)

_WORDS = (
    "coração ", "maçã ", "você ", "não ", "amanhã ", "água ", "pão ", "três ", "é ", "à ", "ônibus ", "ação, ", "fim. ",
    "😀 ", "👍🏽 ", "🇧🇷 ", "👨‍👩‍👧‍👦 ", "✅\n", "日本 ", "naïve ", "token ", "stream ", "1234 ", "x = y; ",
)  # fmt: skip


def answer_chunks(question: str) -> list[str]:
    """The tokens of `echo`'s answer: 20 to 60, different for every question, the same every time."""
    digest = hashlib.sha256(question.encode("utf-8", "replace")).digest()
    count = 20 + digest[0] % 41
    words = [_WORDS[(digest[number % 32] + number) % len(_WORDS)] for number in range(count - 1)]
    return [f"[{digest.hex()[:12]}] ", *words]


def expected_answer(question: str) -> str:
    """What `echo` answers to this last user message."""
    return "".join(answer_chunks(question))


def numbered_token(number: int) -> str:
    """A token of `paced` and `tokens`: it says its number, so that one lost or doubled shows."""
    return f"t{number} "


def unique_token() -> str:
    """The first token of `unique`."""
    return f"#{secrets.token_hex(4)} "


def numbered_tokens(count: int) -> list[str]:
    """The whole answer of `paced` and `tokens`."""
    return [numbered_token(number) for number in range(count)]
