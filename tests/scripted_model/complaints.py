"""How model servers say no: the shapes seen in LM Studio, llama.cpp, vLLM and Ollama, each as a script.

`BODIES` are whole responses (status, value); `IN_STREAM` come after `tokens` tokens of a stream with status 200.
"""

from collections.abc import AsyncGenerator, Callable
from typing import Any, NamedTuple

from tests.scripted_model import wire
from tests.scripted_model.answers import ANSWER
from tests.scripted_model.call import Call

Script = Callable[[Call], AsyncGenerator[bytes, None]]


def _openai(message: str, code: object, type_: str = "invalid_request_error", param: str | None = "model") -> object:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


_KEEP = (
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length "
    "of only 4096 tokens, which is not enough. Try to load the model with a larger context length."
)
_NO_MODELS = "No models loaded. Please load a model in the developer page or use the `lms load` command."
_JINJA = 'Error rendering prompt with jinja template: "No user query found in messages.".'
_TRACE = "Internal error\n    at Object.handle (/app/server.js:10:5)\n    at process.next (node:internal:1:1)"

BODIES: dict[str, tuple[int, object]] = {
    "model-not-found": (404, _openai('Model "x" not found. Please specify a valid model.', "model_not_found")),
    "invalid-model": (
        400,
        _openai('Invalid model identifier "x". Please specify a valid downloaded model.', "model_not_found"),
    ),
    "no-model-object": (400, _openai(_NO_MODELS, None)),
    "no-model-string": (404, {"error": _NO_MODELS}),
    "unexpected-endpoint": (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
    "overflow-keep": (400, {"error": _KEEP}),
    "overflow-n-keep": (400, {"error": "The number of tokens to keep is too big (n_keep: 13055>= n_ctx: 4096)"}),
    "jinja": (400, {"error": _JINJA}),
    "invalid-key": (
        401,
        {"error": {"type": "invalid_request", "code": "invalid_api_key", "message": "Bad token sk-lm-SECRET:KEY"}},
    ),
    "forbidden": (403, {"detail": "Forbidden"}),
    "llama-overflow": (
        400,
        {
            "error": {
                "code": 400,
                "type": "exceed_context_size_error",
                "message": "the request exceeds the available size, try increasing it",
                "n_prompt_tokens": 9000,
                "n_ctx": 4096,
            }
        },
    ),
    "llama-loading": (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    "llama-wrong-path": (404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}),
    "ollama-no-model": (
        404,
        {"error": {"message": 'model "x" not found, try pulling it first', "type": "api_error", "code": None}},
    ),
    "vllm-no-model": (
        404,
        {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
    ),
    "vllm-overflow": (
        400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you asked more."},
    ),
    "detail-list": (422, {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]}),
    "bare-list": (400, ["something is wrong"]),
    "bare-string": (400, "something is wrong"),
    "server-error": (500, {"error": _TRACE}),
    "too-many": (429, {"error": {"message": "Too many requests", "type": "rate_limit", "code": "rate_limit_exceeded"}}),
}


class InStream(NamedTuple):
    """An error inside a stream: the tokens before it, its bytes, and whether `[DONE]` follows."""

    tokens: int
    data: bytes
    then_done: bool = False


def _error(error: object) -> bytes:
    return wire.event({"error": error})


_CRASHED = "The model has crashed without additional information. (Exit code: 18446744072635812000)"
_FULL = (
    "Reached context length of 4096 tokens with model that does not currently support mid-generation context overflow"
)

IN_STREAM: dict[str, InStream] = {
    "stream-overflow": InStream(0, _error({"message": _KEEP})),
    "stream-full": InStream(5, _error({"message": _FULL})),
    "stream-jinja": InStream(0, _error({"message": _JINJA})),
    "stream-crash": InStream(5, _error({"message": _CRASHED})),
    "stream-channel": InStream(5, _error("Channel Error")),
    "stream-unloaded": InStream(5, _error({"message": "Model is unloaded."})),
    "stream-named": InStream(3, b"event: error\n" + _error({"message": _CRASHED})),
    "stream-named-text": InStream(3, b"event: error\ndata: Channel Error\n\n"),
    "stream-string": InStream(0, wire.event("something is wrong")),
    "stream-detail": InStream(0, wire.event({"detail": _NO_MODELS})),
    "llama-stream": InStream(3, _error({"code": 500, "message": "Compute error.", "type": "server_error"})),
    "llama-error-field": InStream(3, b'error: {"code":400,"message":"n_ctx is too small","type":"invalid"}\n\n'),
    "vllm-stream": InStream(3, _error({"message": "Engine core died", "type": "InternalServerError"}), then_done=True),
    "ollama-stream": InStream(3, _error("model runner has unexpectedly stopped, crash")),
}


def _body_script(status: int, value: object) -> Script:
    async def script(_call: Call) -> AsyncGenerator[bytes, None]:
        yield wire.json_body(status, value, retry_after="7") if status == 429 else wire.json_body(status, value)

    return script


def _in_stream_script(complaint: InStream) -> Script:
    async def script(call: Call) -> AsyncGenerator[bytes, None]:
        yield wire.head()
        for text in ANSWER[: complaint.tokens]:
            yield call.token(text)
        yield wire.chunk(complaint.data + (wire.DONE if complaint.then_done else b"")) + wire.LAST_CHUNK

    return script


async def _html(_call: Call) -> AsyncGenerator[bytes, None]:
    yield wire.body(404, b"<!DOCTYPE html><pre>Cannot POST /chat/completions</pre>", "text/html")


async def _login_page(_call: Call) -> AsyncGenerator[bytes, None]:
    yield wire.body(200, b"<html>Please log in</html>", "text/html")


async def _bad_gateway(_call: Call) -> AsyncGenerator[bytes, None]:
    yield wire.body(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")


async def _redirect(_call: Call) -> AsyncGenerator[bytes, None]:
    yield wire.body(302, b"", "text/plain", location="/elsewhere")


COMPLAINTS: dict[str, Script] = {
    **{name: _body_script(status, value) for name, (status, value) in BODIES.items()},
    **{name: _in_stream_script(complaint) for name, complaint in IN_STREAM.items()},
    "html-404": _html,
    "login-page": _login_page,
    "bad-gateway": _bad_gateway,
    "redirect": _redirect,
}


def unknown_model(name: str) -> dict[str, Any]:
    """What LM Studio says to a model it does not have."""
    return {
        "error": {
            "message": f'Model "{name}" not found. Please specify a valid model.',
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
