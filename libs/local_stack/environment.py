"""The variables for the launcher and its children: the real environment, and what `.env` adds to it."""

import os
from pathlib import Path

from libs.local_stack.start_error import StartError


def load(dotenv: Path) -> dict[str, str]:
    """The environment for everything that is started. Raises StartError for a `.env` that cannot be read."""
    return {**read_dotenv(dotenv), **os.environ}  # noqa: TID251 (the launcher hands the environment on)


def read_dotenv(path: Path) -> dict[str, str]:
    """`KEY=VALUE` lines, with comments, quotes and a leading `export`; nothing when there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{path} cannot be read: {error}.") from error
    values = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise StartError(f"{path}, line {number}: expected KEY=VALUE, found {line.strip()!r}.")
        values[name.strip()] = unquote(value.strip())
    return values


def unquote(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
