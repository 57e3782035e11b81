"""Reads a service's settings from its environment, and says in a sentence what is wrong with them."""

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """The settings, or exit code 1 with one line for each setting that is wrong."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    try:
        return settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            known_as = name if name.lower() not in settings.model_fields else f"{prefix}{name}"
            sys.stderr.write(f"{known_as}={problem['input']!r} cannot be used: {problem['msg']}.\n")
        sys.exit(1)
