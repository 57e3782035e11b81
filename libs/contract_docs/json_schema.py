"""Every frame, and everything in one, as JSON Schema 2020-12.

CLIENT_FRAMES, SERVER_FRAMES ─▶ definitions ─▶ schema.json, asyncapi.json, orquestrador.d.ts

What clients send is described as the gateway reads it: what has a default may be left out, and null may stand where
it means the same. What the server sends is described as it is sent: a field that may be missing is never null, and one
that may be null is never missing. Fields that are not described are allowed everywhere, since both sides ignore them.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from msgspec.inspect import CollectionType, EnumType, Metadata, StructType, Type, UnionType, multi_type_info
from msgspec.structs import fields

from libs.contract import close_codes, errors, protocol
from libs.contract.close_codes import CloseCode
from libs.contract.frames import FrameId
from libs.contract.protocol import ANSWERS, CLIENT_FRAMES, SERVER_FRAMES, FromClient, FromServer

Schema = dict[str, Any]

KINDS = (CLIENT_FRAME, SERVER_FRAME) = ("ClientFrame", "ServerFrame")
REFERENCE = "#/$defs/{name}"
MADE_BY = "Made by scripts/contract from libs/contract; do not edit."


def document() -> Schema:
    """All definitions in one file; the file itself describes any frame."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:orquestrador:protocol:{protocol.VERSION}",
        "title": "Orquestrador",
        "description": f"Any frame of the WebSocket protocol, version {protocol.VERSION}. {MADE_BY}",
        "anyOf": [_reference(name) for name in KINDS],
        "$defs": definitions(),
    }


def definitions() -> dict[str, Schema]:
    """By name: `ClientFrame`, `ServerFrame`, each of them (see `request_name`, `frame_name`), and what is in them."""
    rest = _components()
    requests = {request_name(name): _request(name, frame) for name, frame in CLIENT_FRAMES.items()}
    told = {frame_name(name): _told(name, frame, rest) for name, frame in SERVER_FRAMES.items()}
    kinds = {
        CLIENT_FRAME: _one_of("What clients send.", requests),
        SERVER_FRAME: _one_of("What clients are told. Ignore a `type` that you do not know.", told),
    }
    twice = [name for name in rest if name in requests or name in told or name in kinds]
    if twice:
        raise ValueError(f"these structs are named like a frame: {twice}")
    return kinds | requests | told | rest


def request_name(frame_type: str) -> str:
    """What a client's frame is called: `ChatSendRequest` for `chat:send`."""
    return f"{_capitalised(frame_type)}Request"


def frame_name(frame_type: str) -> str:
    """What a server's frame is called: `ChatMessageFrame` for `chat:message`."""
    return f"{_capitalised(frame_type)}Frame"


def _capitalised(frame_type: str) -> str:
    return "".join(word.capitalize() for word in frame_type.split(":"))


# ---- Frames -----------------------------------------------------------------------------------------------------


def _request(frame_type: str, frame: FromClient) -> Schema:
    properties: Schema = {"type": {"const": frame_type}, "id": _or_null(_reference("FrameId"))}
    required = ["type"]
    if frame.data is not None:
        data = _reference(frame.data.__name__)
        needed = any(field.required for field in fields(frame.data))
        # The gateway takes missing and null data for `{}`.
        properties["data"] = data if needed else _or_null(data)
        required += ["data"] if needed else []
    return _object(request_name(frame_type), frame.says, properties, required)


def _told(frame_type: str, frame: FromServer, rest: dict[str, Schema]) -> Schema:
    properties: Schema = {"type": {"const": frame_type}}
    if frame_type in ANSWERS:
        properties["id"] = _reference("FrameId")
    if frame.data is None:
        return _object(frame_name(frame_type), frame.says, properties, ["type"])
    if frame.whole:
        struct = rest.pop(frame.data.__name__)
        says = f"{frame.says} {struct['description']}"
        return _object(frame_name(frame_type), says, struct["properties"] | properties, struct["required"])
    properties["data"] = _reference(frame.data.__name__)
    return _object(frame_name(frame_type), frame.says, properties, ["type", "data"])


def _object(title: str, says: str, properties: Schema, required: list[str]) -> Schema:
    return {"title": title, "description": says, "type": "object", "properties": properties, "required": required}


def _one_of(says: str, names: Iterable[str]) -> Schema:
    return {"description": says, "anyOf": [_reference(name) for name in names]}


def _reference(name: str) -> Schema:
    return {"$ref": REFERENCE.format(name=name)}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


# ---- What is in them --------------------------------------------------------------------------------------------


def _components() -> dict[str, Schema]:
    """Every struct and enumeration that the frames use, and the two that stand by themselves."""
    read = _classes([frame.data for frame in CLIENT_FRAMES.values() if frame.data])
    sent = _classes([frame.data for frame in SERVER_FRAMES.values() if frame.data])
    shared = [kind.__name__ for kind in read & sent if issubclass(kind, Struct)]
    if shared:
        # The two directions treat missing and null differently.
        raise ValueError(f"these structs are both read and sent: {shared}")
    (frame_id, *_), schemas = msgspec.json.schema_components([FrameId, *_ordered(read | sent)], ref_template=REFERENCE)
    for kind in read | sent:
        schemas[kind.__name__]["description"] = _description(kind)
        if issubclass(kind, Enum):
            schemas[kind.__name__]["enum"] = [member.value for member in kind]
    for kind in sent:
        if issubclass(kind, Struct):
            _describe_as_sent(kind, schemas[kind.__name__])
    schemas["ErrorCode"]["description"] += _list(errors.MEANINGS)
    return {
        "FrameId": {"description": "A client's own word for a request; the answers carry it.", **frame_id},
        "CloseCode": {
            "description": _description(CloseCode) + _list(close_codes.MEANINGS),
            "enum": [int(code) for code in CloseCode],
        },
    } | schemas


def _list(meanings: Mapping[Any, str]) -> str:
    return "".join(f"\n- {code}: {meaning}" for code, meaning in meanings.items())


def _ordered(kinds: set[type]) -> list[type]:
    return sorted(kinds, key=lambda kind: kind.__name__)


def _classes(structs: list[type[Struct]]) -> set[type]:
    return {kind for info in multi_type_info(structs) for kind in _classes_in(info)}


def _classes_in(info: Type) -> Iterator[type]:
    """The structs and enumerations in a type, however deep."""
    match info:
        case StructType():
            yield info.cls
            for field in info.fields:
                yield from _classes_in(field.type)
        case EnumType():
            yield info.cls
        case Metadata():
            yield from _classes_in(info.type)
        case CollectionType():
            yield from _classes_in(info.item_type)
        case UnionType():
            for alternative in info.types:
                yield from _classes_in(alternative)


def _description(kind: type) -> str:
    """The docstring with a line for each paragraph. Python 3.13 indents docstrings differently: not the raw one."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    if issubclass(kind, Struct):
        for field in fields(kind):
            text = text.replace(f"`{field.name}`", f"`{field.encode_name}`")
    return text


def _describe_as_sent(kind: type[Struct], schema: Schema) -> None:
    """msgspec describes what it would read; what it writes is narrower."""
    for field in fields(kind):
        if field.required or field.default is UNSET:
            continue
        described = schema["properties"][field.encode_name]
        if not kind.__struct_config__.omit_defaults:
            described.pop("default", None)
            schema["required"].append(field.encode_name)
        elif field.default is None:
            schema["properties"][field.encode_name] = _never_null(described)


def _never_null(schema: Schema) -> Schema:
    alternatives = [alternative for alternative in schema["anyOf"] if alternative != {"type": "null"}]
    if len(alternatives) == 1:
        return alternatives[0]  # type: ignore[no-any-return]
    return {"anyOf": alternatives}
