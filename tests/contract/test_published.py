"""docs/contract: what is committed there is what the code says, and hangs together."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from libs.contract_docs.__main__ import FOLDER, published

FILES = published()


@pytest.mark.parametrize("name", FILES)
def test_what_is_committed_is_what_the_code_says(name: str) -> None:
    """Otherwise `scripts/contract` was forgotten, or somebody has edited the file."""
    assert (FOLDER / name).read_text(encoding="utf-8") == FILES[name]


def test_nothing_else_is_published() -> None:
    """A file that nobody makes any more must go."""
    assert {path.name for path in FOLDER.iterdir()} == {*FILES, "README.md"}


def test_the_schema_is_a_schema() -> None:
    """By the schema of JSON Schema 2020-12."""
    Draft202012Validator.check_schema(json.loads(FILES["schema.json"]))


@pytest.mark.parametrize("name", ["schema.json", "asyncapi.json"])
def test_every_reference_leads_somewhere(name: str) -> None:
    """Inside the same file."""
    document = json.loads(FILES[name])
    references = set(_references(document))
    assert references
    for reference in references:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _references(inner)
