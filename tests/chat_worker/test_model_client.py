"""Answers in every dialect and with every ending, through a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.contract.chat import ChatOptions, Usage
from libs.contract.errors import ErrorCode
from services.chat_worker.lm_studio.client import End, ModelClient
from services.chat_worker.lm_studio.server import open_model_server
from tests.scripted_model.answers import (
    ANSWER,
    ANSWER_TEXT,
    THOUGHT_TEXT,
    answer_chunks,
    expected_answer,
    numbered_tokens,
)
from tests.scripted_model.asking import QUESTION, ask, hear, prompt
from tests.scripted_model.server import ScriptedModel

# name → (text, reasoning)
WHOLE = {
    "echo": (expected_answer(QUESTION), ""),
    "slow-head": (ANSWER_TEXT, ""),
    "comments-then-answer": (ANSWER_TEXT, ""),
    "crlf": (ANSWER_TEXT, ""),
    "split-utf8": ("é 😀 ção", ""),
    "bad-utf8": ("a\ufffdbc\ufffdd", ""),
    "multi-line": (ANSWER_TEXT, ""),
    "no-done": (ANSWER_TEXT, ""),
    "no-blank-line": (ANSWER_TEXT, ""),
    "whole": (ANSWER_TEXT, ""),
    "burst": (ANSWER_TEXT, ""),
    "usage-in-finish": (ANSWER_TEXT, ""),
    "usage-always": (ANSWER_TEXT, ""),
    "nulls": (ANSWER_TEXT, ""),
    "reasoning-content": (ANSWER_TEXT, THOUGHT_TEXT),
    "reasoning": (ANSWER_TEXT, THOUGHT_TEXT),
    "think-tags": (ANSWER_TEXT, THOUGHT_TEXT),
    "think-unopened": (f"{THOUGHT_TEXT}</think>{ANSWER_TEXT}", ""),
    "tokens-2000": ("".join(numbered_tokens(2000)), ""),
    "paced-20-1000": ("".join(numbered_tokens(20)), ""),
}

# Streams that stop without saying why: the text so far, and no finish reason.
UNEXPLAINED = ["eof", "done-only", "abort"]

# name → (code, text before)
BROKEN = {
    "cut": (ErrorCode.MODEL_UNAVAILABLE, "".join(ANSWER[:5])),
    "reset": (ErrorCode.MODEL_UNAVAILABLE, "".join(ANSWER[:5])),
    "reset-at-once": (ErrorCode.MODEL_UNAVAILABLE, ""),
    "bad-chunk-size": (ErrorCode.MODEL_UNAVAILABLE, ANSWER[0]),
    "hang-up": (ErrorCode.MODEL_UNAVAILABLE, ""),
    "not-http": (ErrorCode.MODEL_UNAVAILABLE, ""),
    "empty": (ErrorCode.MODEL_ERROR, ""),
    "empty-done": (ErrorCode.MODEL_ERROR, ""),
    "empty-stop": (ErrorCode.MODEL_ERROR, ""),
    "empty-full": (ErrorCode.CONTEXT_OVERFLOW, ""),
    "garbage": (ErrorCode.MODEL_ERROR, "".join(ANSWER[:2])),
    "endless-line": (ErrorCode.MODEL_ERROR, ""),
}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel.running() as model:
        yield model


@pytest.mark.parametrize("name", WHOLE)
async def test_a_whole_answer_arrives_exactly(name: str, model: ScriptedModel) -> None:
    """Whatever its dress: the text, the thinking apart from it, and a known reason for its end."""
    heard = await ask(model.url, name)
    assert heard.failure is None
    assert (heard.text, heard.reasoning) == WHOLE[name]
    assert heard.end is not None
    assert (heard.end.finish_reason, heard.end.model) == ("stop", name)


@pytest.mark.parametrize("name", UNEXPLAINED)
async def test_an_end_without_a_known_reason_is_not_called_complete(name: str, model: ScriptedModel) -> None:
    """Neither the end of the stream nor `[DONE]` nor a reason that nobody knows is a success."""
    heard = await ask(model.url, name)
    assert heard.end is not None
    assert (heard.text, heard.end.finish_reason) == ("".join(ANSWER[:5]), None)


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_answer_fails_honestly_and_keeps_its_text(name: str, model: ScriptedModel) -> None:
    """What had arrived was handed on before the error."""
    heard = await ask(model.url, name)
    assert (heard.code, heard.text) == BROKEN[name]


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("echo", Usage(3, len(answer_chunks(QUESTION)))),
        ("usage-in-finish", Usage(7, 13)),
        ("usage-always", Usage(7, 13)),
        ("no-done", None),
    ],
)
async def test_usage_is_taken_from_whatever_chunk_carries_it(
    name: str, usage: Usage | None, model: ScriptedModel
) -> None:
    """In a last chunk without choices, in the finishing chunk, in every chunk, or nowhere."""
    heard = await ask(model.url, name)
    assert heard.end is not None
    assert heard.end.usage == usage


async def test_the_length_limit_is_a_known_end(model: ScriptedModel) -> None:
    """The model stopped where it was told to."""
    heard = await ask(model.url, "length")
    assert heard.end == End("length", Usage(3, 1), "length")


async def test_it_is_told_when_another_model_answered(model: ScriptedModel) -> None:
    """LM Studio answers with the one loaded model, whichever was asked for."""
    heard = await ask(model.url, "other-model")
    assert heard.end is not None
    assert heard.end.model == "the-loaded-one"


async def test_tokens_that_arrive_together_are_one_piece(model: ScriptedModel) -> None:
    """The reader pays per read, not per token."""
    assert (await ask(model.url, "burst")).reads == 1


async def test_the_request_says_what_was_asked_and_nothing_else(model: ScriptedModel) -> None:
    """Options that nobody set stay the server's choice."""
    await ask(model.url, "burst", ChatOptions(temperature=0.5, top_p=0.9, max_tokens=64, seed=7, stop=["\n"]))
    await ask(model.url, "burst")
    common = {
        "model": "burst",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    options = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["\n"]}
    assert [seen.body for seen in model.seen] == [{**common, **options}, common]


async def test_nobody_listening_is_said_with_the_address() -> None:
    """Refused at once, not after a timeout."""
    async with ScriptedModel.running() as model:
        url = model.url
    heard = await asyncio.wait_for(ask(url, "echo"), 1)
    assert heard.code is ErrorCode.MODEL_UNAVAILABLE
    assert heard.failure is not None
    assert f"Nobody answers at {url}." in heard.failure.message


async def test_a_name_that_does_not_exist_is_nobody_answering() -> None:
    """The reserved top-level domain `invalid` never resolves."""
    heard = await ask("http://model.invalid:1234/v1", "echo")
    assert heard.code is ErrorCode.MODEL_UNAVAILABLE


async def test_no_connection_is_used_twice(model: ScriptedModel) -> None:
    """So none can be found closed by the server when a request is already on its way."""
    async with open_model_server(model.url) as server:
        client = ModelClient(server)
        for _ in range(3):
            await hear(client, prompt("burst"))
            await model.until(lambda model: not model.connections)
    assert len(model.seen) == 3


async def test_many_answers_at_once_stay_apart(model: ScriptedModel) -> None:
    """Two hundred streams, each with its own text, over one client; none waits for another."""
    questions = [f"Pergunta {number}?" for number in range(200)]
    async with open_model_server(model.url) as server:
        # Two hundred at once, on one core with the server: on a busy machine the usual 2 s are too short.
        client = ModelClient(server, connect_seconds=20)
        heard = await asyncio.gather(*(hear(client, prompt("echo", question=question)) for question in questions))
    assert [one.text for one in heard] == [expected_answer(question) for question in questions]
