"""Every way a model server is known to say no has its code, and a sentence that tells the person what to do."""

from collections.abc import AsyncIterator

import pytest

from libs.contract.errors import ErrorCode
from services.chat_worker.lm_studio.model_errors import QUOTE_CHARACTERS, complained, refused
from tests.scripted_model.answers import ANSWER
from tests.scripted_model.asking import ask
from tests.scripted_model.complaints import COMPLAINTS, IN_STREAM
from tests.scripted_model.server import ScriptedModel

NOT_FOUND = (ErrorCode.MODEL_NOT_FOUND, "choose one")
NOT_LOADED = (ErrorCode.MODEL_UNAVAILABLE, "load one")
LOADING = (ErrorCode.MODEL_UNAVAILABLE, "still loading")
BUSY = (ErrorCode.MODEL_UNAVAILABLE, "too much to do")
CRASHED = (ErrorCode.MODEL_UNAVAILABLE, "stopped running")
DOWN = (ErrorCode.MODEL_UNAVAILABLE, "its log")
OVERFLOW = (ErrorCode.CONTEXT_OVERFLOW, "start a new one")
TEMPLATE = (ErrorCode.MODEL_ERROR, "prompt template")
KEY = (ErrorCode.MODEL_ERROR, "LM_STUDIO_API_KEY")
ENDPOINT = (ErrorCode.MODEL_ERROR, "LM_STUDIO_URL")
OTHER = (ErrorCode.MODEL_ERROR, "could not answer")

MEANINGS = {
    "model-not-found": NOT_FOUND,
    "invalid-model": NOT_FOUND,
    "ollama-no-model": NOT_FOUND,
    "vllm-no-model": NOT_FOUND,
    "no-model-object": NOT_LOADED,
    "no-model-string": NOT_LOADED,
    "stream-detail": NOT_LOADED,
    "unexpected-endpoint": ENDPOINT,
    "llama-wrong-path": ENDPOINT,
    "html-404": ENDPOINT,
    "login-page": ENDPOINT,
    "redirect": ENDPOINT,
    "overflow-keep": OVERFLOW,
    "overflow-n-keep": OVERFLOW,
    "llama-overflow": OVERFLOW,
    "vllm-overflow": OVERFLOW,
    "stream-overflow": OVERFLOW,
    "stream-full": OVERFLOW,
    "llama-error-field": OVERFLOW,
    "jinja": TEMPLATE,
    "stream-jinja": TEMPLATE,
    "stream-crash": CRASHED,
    "stream-channel": CRASHED,
    "stream-unloaded": CRASHED,
    "stream-named": CRASHED,
    "stream-named-text": CRASHED,
    "ollama-stream": CRASHED,
    "invalid-key": KEY,
    "forbidden": KEY,
    "llama-loading": LOADING,
    "too-many": BUSY,
    "server-error": DOWN,
    "bad-gateway": DOWN,
    "detail-list": OTHER,
    "bare-list": OTHER,
    "bare-string": OTHER,
    "stream-string": OTHER,
    "llama-stream": OTHER,
    "vllm-stream": OTHER,
}


@pytest.fixture
async def model() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel.running() as model:
        yield model


def test_no_known_complaint_is_left_out() -> None:
    """A complaint added to the scripted server must get its meaning here."""
    assert MEANINGS.keys() == COMPLAINTS.keys()


@pytest.mark.parametrize("name", MEANINGS)
async def test_a_complaint_gets_its_code_and_a_sentence(name: str, model: ScriptedModel) -> None:
    """Over a real socket; the tokens before it are kept."""
    code, words = MEANINGS[name]
    heard = await ask(model.url, name)
    assert heard.failure is not None
    assert (heard.code, heard.end) == (code, None)
    assert words in heard.failure.message
    assert "\n" not in heard.failure.message
    assert heard.text == "".join(ANSWER[: IN_STREAM[name].tokens] if name in IN_STREAM else [])


async def test_a_busy_server_may_say_when_to_come_back(model: ScriptedModel) -> None:
    """`Retry-After` in seconds reaches the client as milliseconds."""
    heard = await ask(model.url, "too-many")
    assert heard.failure is not None
    assert heard.failure.retry_after_ms == 7000


async def test_a_key_is_never_quoted(model: ScriptedModel) -> None:
    """Servers repeat the key they refuse; we do not."""
    heard = await ask(model.url, "invalid-key")
    assert heard.failure is not None
    assert "SECRET" not in heard.failure.message
    assert "sk-test" not in heard.failure.message
    assert model.seen[0].authorization == "Bearer sk-test"


def test_the_servers_words_are_quoted_short_and_without_stack_traces() -> None:
    """A person can read them; nobody has to scroll."""
    assert refused(500, b'{"error":"boom\\n    at f (/app/server.js:1:1)"}').message.endswith("It says: “boom”")
    assert refused(500, b"Traceback (most recent call last):\n  File ...").message.endswith("again.")
    long = complained({"message": "word " * 1000}).message
    assert long.endswith("…”")
    assert len(long.partition("It says: ")[2]) == QUOTE_CHARACTERS + 2


@pytest.mark.parametrize(
    "value", [None, {}, [], "", 7, {"error": None}, {"error": []}, {"error": {"error": {"error": {"error": {}}}}}]
)
def test_a_complaint_of_no_known_shape_is_a_model_error(value: object) -> None:
    """No shape raises."""
    assert complained(value).code is ErrorCode.MODEL_ERROR


def test_a_code_decides_before_the_words() -> None:
    """Words are guessed at only where the server gives no code."""
    value = {"error": {"code": "model_not_found", "message": "The context length of this model is unknown"}}
    assert complained(value).code is ErrorCode.MODEL_NOT_FOUND
