"""The model lists of each kind of server: which paths it has, and what it says on the others."""

from typing import Literal

from tests.scripted_model import wire
from tests.scripted_model.scripts import SCRIPTS

Flavour = Literal["lmstudio-v1", "lmstudio-v0", "llama", "vllm", "plain"]

LOADED_CONTEXT = 4096
MAX_CONTEXT = 32768

# In the LM Studio lists this one is downloaded and not loaded.
NOT_LOADED = "held"


def get(flavour: Flavour, path: str, also: list[str]) -> bytes:
    """The whole response to `GET path`."""
    names = [*SCRIPTS, *also]
    match flavour, path:
        case "lmstudio-v1", "/api/v1/models":
            return wire.json_body(200, {"models": [_EMBEDDING_V1, *map(_v1, names)]})
        case "lmstudio-v0", "/api/v0/models":
            return wire.json_body(200, {"object": "list", "data": [_EMBEDDING_V0, *map(_v0, names)]})
        case "llama", "/v1/models":
            return wire.json_body(200, {"models": [], "object": "list", "data": [*map(_llama, names)]})
        case "vllm", "/v1/models":
            return wire.json_body(200, {"object": "list", "data": [*map(_vllm, names)]})
        case "llama", "/health":
            return wire.json_body(200, {"status": "ok"})
        case _, "/v1/models":
            listed = [_plain("text-embedding-nomic"), *map(_plain, names)]
            return wire.json_body(200, {"object": "list", "data": listed})
    return wrong_path(flavour, "GET", path)


def wrong_path(flavour: Flavour, method: str, path: str) -> bytes:
    """LM Studio answers 200 on every path."""
    if flavour.startswith("lmstudio"):
        return wire.json_body(200, {"error": f"Unexpected endpoint or method. ({method} {path})"})
    return wire.json_body(404, {"detail": "Not Found"})


def _plain(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "owned_by": "organization_owner"}


def _llama(name: str) -> dict[str, object]:
    meta = {"vocab_type": 2, "n_ctx_train": MAX_CONTEXT, "n_ctx": LOADED_CONTEXT, "size": 1}
    return {**_plain(name), "meta": meta}


def _vllm(name: str) -> dict[str, object]:
    return {**_plain(name), "max_model_len": LOADED_CONTEXT, "parent": None}


def _v0(name: str) -> dict[str, object]:
    listed = {**_plain(name), "type": "llm", "arch": "llama", "max_context_length": MAX_CONTEXT}
    if name == NOT_LOADED:
        return {**listed, "state": "not-loaded"}
    return {**listed, "state": "loaded", "loaded_context_length": LOADED_CONTEXT}


def _v1(name: str) -> dict[str, object]:
    instance = {"id": name, "config": {"context_length": LOADED_CONTEXT, "parallel": 4, "flash_attention": True}}
    return {
        "type": "llm",
        "key": name,
        "display_name": name,
        "loaded_instances": [] if name == NOT_LOADED else [instance],
        "max_context_length": MAX_CONTEXT,
        "format": "gguf",
    }


_EMBEDDING_V0 = {**_plain("nomic-embed"), "type": "embeddings", "state": "loaded", "max_context_length": 2048}
_EMBEDDING_V1 = {"type": "embedding", "key": "nomic-embed", "loaded_instances": [], "max_context_length": 2048}
