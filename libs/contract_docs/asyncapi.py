"""The WebSocket protocol as AsyncAPI 3.0, from the gateway's side: it receives requests and sends frames."""

from collections.abc import Iterable
from typing import Any

from libs.contract import close_codes, errors, protocol
from libs.contract.close_codes import CloseCode
from libs.contract.errors import ErrorCode
from libs.contract.protocol import CLIENT_FRAMES, SERVER_FRAMES, FromClient
from libs.contract_docs import json_schema
from libs.contract_docs.json_schema import Schema, frame_name, request_name

DESCRIPTION = (
    'JSON text frames, one object a frame: `{"type": …, "id": …, "data": {…}}`. `id` is the client\'s own optional '
    "word for a request; every direct answer to that request carries it back. Ignore fields that are not described "
    "here, and frames of an unknown type. An error frame never closes the connection. Close codes from 4000: do not "
    "reconnect; from 4100: reconnect with backoff; from 4200: reconnect within the window told."
)


def document() -> Schema:
    """The whole document."""
    requests = {request_name(name): _message(request_name(name), name, f.says) for name, f in CLIENT_FRAMES.items()}
    told = {frame_name(name): _message(frame_name(name), name, f.says) for name, f in SERVER_FRAMES.items()}
    messages = requests | told
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Orquestrador",
            "version": str(protocol.VERSION),
            "description": f"{DESCRIPTION}\n\n{json_schema.MADE_BY}",
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {"host": "localhost:3001", "protocol": "ws", "description": "What `scripts/up` starts."},
        },
        "channels": {
            "ws": {
                "address": "/ws",
                "summary": "The one WebSocket of a client.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": _operations(),
        "components": {"messages": messages, "schemas": _schemas()},
        "x-error-codes": [
            {"code": code.value, "retryable": code.retryable, "meaning": errors.MEANINGS[code]} for code in ErrorCode
        ],
        "x-close-codes": [{"code": int(code), "meaning": close_codes.MEANINGS[code]} for code in CloseCode],
    }


def _message(name: str, frame_type: str, says: str) -> Schema:
    return {"name": frame_type, "title": name, "summary": says, "payload": {"$ref": f"#/components/schemas/{name}"}}


def _operations() -> Schema:
    """One for each request, with all that may answer it; and one for each frame that comes unasked."""
    asked = {request_name(name): _request(request_name(name), frame) for name, frame in CLIENT_FRAMES.items()}
    unasked = dict.fromkeys(name for frame in CLIENT_FRAMES.values() for name in frame.then)
    for name in SERVER_FRAMES:
        if name not in protocol.ANSWERS:
            unasked[name] = None
    pushed = {
        frame_name(name): {
            "action": "send",
            "channel": {"$ref": "#/channels/ws"},
            "summary": SERVER_FRAMES[name].says,
            "messages": _in_channel([frame_name(name)]),
        }
        for name in unasked
    }
    return asked | pushed


def _request(name: str, frame: FromClient) -> Schema:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/ws"},
        "summary": frame.says,
        "messages": _in_channel([name]),
        "reply": {
            "channel": {"$ref": "#/channels/ws"},
            "messages": _in_channel(frame_name(answer) for answer in (*frame.answers, "error")),
        },
    }


def _in_channel(names: Iterable[str]) -> list[Schema]:
    return [{"$ref": f"#/channels/ws/messages/{name}"} for name in names]


def _schemas() -> Schema:
    """Without the two kinds of frame: here they are the messages of the channel."""
    definitions = json_schema.definitions()
    return {name: _for_asyncapi(definitions[name]) for name in definitions if name not in json_schema.KINDS}


def _for_asyncapi(schema: Any) -> Any:
    """References as they are written here, alone: this dialect ignores what stands beside one."""
    match schema:
        case {"$ref": str(reference), **beside}:
            moved = {"$ref": reference.replace("#/$defs/", "#/components/schemas/")}
            return {"allOf": [moved], **beside} if beside else moved
        case dict():
            return {key: _for_asyncapi(value) for key, value in schema.items()}
        case list():
            return [_for_asyncapi(value) for value in schema]
    return schema
