"""The scripted model server as other tests use it: a process of its own, driven over HTTP."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from libs.contract.chat import ChatOptions
from tests.scripted_model import waiting
from tests.scripted_model.answers import answer_chunks, expected_answer, numbered_tokens
from tests.scripted_model.asking import QUESTION, ask

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server process that must also end by itself on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.scripted_model", "--flavour", "llama", "--also", "paced-9-9",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 10)
        yield line.decode().removeprefix("listening on ").strip()
        os.kill(process.pid, signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_answers_lists_and_remembers(url: str) -> None:
    """Everything that another process needs to know goes over its control paths."""
    heard = await ask(url, "echo")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        listed = (await http.get("/v1/models")).json()["data"]
        [seen] = (await http.get("/scripted/requests")).json()
        health = await http.get("/health")
    assert heard.text == expected_answer(QUESTION)
    assert {"echo", "paced-9-9"} < {model["id"] for model in listed}
    assert health.json() == {"status": "ok"}
    assert {key: seen[key] for key in ("model", "messages", "closedByClient", "tokensSent")} == {
        "model": "echo",
        "messages": [{"role": "user", "content": QUESTION}],
        "closedByClient": False,
        "tokensSent": len(answer_chunks(QUESTION)),
    }
    assert seen["started"] <= seen["finished"]


async def test_held_answers_go_on_when_released(url: str) -> None:
    """From outside, over HTTP."""
    asking = asyncio.create_task(ask(url, "held"))
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:

        async def asked() -> object:
            return (await http.get("/scripted/requests")).json()

        await waiting.until(asked, 5)
        await http.post("/scripted/release")
    assert (await asking).text == expected_answer(QUESTION)


async def test_the_number_of_tokens_may_stand_in_the_request(url: str) -> None:
    """As `max_tokens`, for callers that cannot choose any name."""
    heard = await ask(url, "tokens", ChatOptions(max_tokens=12))
    assert heard.text == "".join(numbered_tokens(12))


@pytest.mark.parametrize("question", ["", "Olá", "Olá!", "x" * 10_000])
def test_the_echo_is_the_same_every_time_and_20_to_60_tokens(question: str) -> None:
    """And different for every question."""
    assert expected_answer(question) == "".join(answer_chunks(question))
    assert 20 <= len(answer_chunks(question)) <= 60
    assert expected_answer(question) != expected_answer(f"{question}?")
