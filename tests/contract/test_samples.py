"""Every frame as it was frozen: read by its struct, written again byte for byte, and valid by the published schema.

So a field that is renamed, dropped, moved or of another type fails a test before it fails somebody's client.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec import UNSET, Struct
from msgspec.structs import fields

from libs.contract.protocol import CLIENT_FRAMES, SERVER_FRAMES
from libs.contract_docs.json_schema import CLIENT_FRAME, SERVER_FRAME, frame_name, request_name
from tests.clients import check_frame
from tests.contract.frozen import FRAMES, REQUESTS, data_of_frame, data_of_request, type_of, written
from tests.processes import ROOT

PUBLISHED = json.loads((ROOT / "docs" / "contract" / "schema.json").read_text(encoding="utf-8"))


def published(name: str) -> Draft202012Validator:
    """A validator for one definition of the published file."""
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": PUBLISHED["$defs"]})


@pytest.mark.parametrize("line", REQUESTS, ids=type_of)
def test_a_request_is_read_and_written_as_it_was_frozen(line: str) -> None:
    """What clients send today is understood tomorrow."""
    assert written(line, data_of_request(line)) == line


@pytest.mark.parametrize("line", FRAMES, ids=type_of)
def test_a_frame_is_written_as_it_was_frozen(line: str) -> None:
    """What clients are told today they are told tomorrow."""
    assert written(line, data_of_frame(line), whole=SERVER_FRAMES[type_of(line)].whole) == line


@pytest.mark.parametrize("line", REQUESTS, ids=type_of)
def test_a_request_is_valid_by_the_published_schema(line: str) -> None:
    """By that of its type, and as any frame of a client."""
    published(request_name(type_of(line))).validate(json.loads(line))
    published(CLIENT_FRAME).validate(json.loads(line))


@pytest.mark.parametrize("line", FRAMES, ids=type_of)
def test_a_frame_is_valid_by_the_published_schema(line: str) -> None:
    """By that of its type, as any frame of the server, and by the check of the test client."""
    published(frame_name(type_of(line))).validate(json.loads(line))
    published(SERVER_FRAME).validate(json.loads(line))
    check_frame(line)


@pytest.mark.parametrize("line", FRAMES, ids=type_of)
def test_the_published_schema_misses_every_field_that_a_frame_needs(line: str) -> None:
    """The same frame without one of its fields is not valid, if the schema says that it is always there."""
    validator = published(frame_name(type_of(line)))
    needed = PUBLISHED["$defs"][frame_name(type_of(line))]["required"]
    whole = json.loads(line)
    for name in needed:
        assert not validator.is_valid({key: value for key, value in whole.items() if key != name})


def test_every_type_of_frame_has_a_sample() -> None:
    """Also the next one."""
    assert {type_of(line) for line in REQUESTS} == set(CLIENT_FRAMES)
    assert {type_of(line) for line in FRAMES} == set(SERVER_FRAMES)


def test_every_field_has_a_sample() -> None:
    """With a value that says something: not null, and not the default."""
    data = [data for data in (*map(data_of_request, REQUESTS), *map(data_of_frame, FRAMES)) if data is not None]
    said = {field for one in data for field in _said(one)}
    kinds = {kind for kind, _ in said}
    assert {(kind, field.name) for kind in kinds for field in fields(kind)} - said == set()


def _said(value: Any) -> Iterator[tuple[type[Struct], str]]:
    if isinstance(value, list):
        for entry in value:
            yield from _said(entry)
    if not isinstance(value, Struct):
        return
    for field in fields(value):
        inner = getattr(value, field.name)
        if inner is not None and inner is not UNSET and inner != field.default and inner != []:
            yield type(value), field.name
            yield from _said(inner)
