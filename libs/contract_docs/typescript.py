"""The definitions as TypeScript: an interface for each object, and unions that `type` tells apart."""

import json
from collections.abc import Iterable

from libs.contract import errors, protocol
from libs.contract.errors import ErrorCode
from libs.contract_docs import json_schema
from libs.contract_docs.json_schema import Schema

INDENT = "  "
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def module() -> str:
    """The text of a declaration file."""
    parts = [
        f"// The frames of the WebSocket protocol, version {protocol.VERSION}. {json_schema.MADE_BY}",
        f"export type ProtocolVersion = {protocol.VERSION};",
        *(_declaration(name, schema) for name, schema in json_schema.definitions().items()),
        _comment("The same request may succeed later without anybody changing it.")
        + f"export type RetryableErrorCode = {_union(code.value for code in ErrorCode if code in errors.RETRYABLE)};",
    ]
    return "\n\n".join(parts) + "\n"


def _declaration(name: str, schema: Schema) -> str:
    comment = _comment(schema.get("description", ""))
    if name in json_schema.KINDS:
        return f"{comment}export type {name} =" + "".join(f"\n{INDENT}| {_type(one)}" for one in schema["anyOf"]) + ";"
    if schema.get("type") != "object":
        return f"{comment}export type {name} = {_type(schema)};"
    if not schema["properties"]:
        return f"{comment}export type {name} = Record<string, unknown>;"
    required = schema["required"]
    lines = [_property(field, of, required=field in required) for field, of in schema["properties"].items()]
    return f"{comment}export interface {name} {{\n" + "".join(lines) + "}"


def _property(name: str, schema: Schema, *, required: bool) -> str:
    default = f"@defaultValue `{_literal(schema['default'])}`" if schema.get("default") is not None else ""
    remark = "\n".join(filter(None, [schema.get("description", ""), default]))
    return f"{_comment(remark, INDENT)}{INDENT}{name}{'' if required else '?'}: {_type(schema)};\n"


def _type(schema: Schema) -> str:
    match schema:
        case {"$ref": str(reference)}:
            return reference.rpartition("/")[2]
        case {"const": value}:
            return _literal(value)
        case {"enum": list(values)}:
            return _union(values)
        case {"anyOf": list(alternatives)}:
            return " | ".join(dict.fromkeys(_type(alternative) for alternative in alternatives))
        case {"type": "array", "items": dict(items)}:
            return f"Array<{_type(items)}>"
        case {"type": str(simple)} if simple in SIMPLE:
            return SIMPLE[simple]
    raise ValueError(f"no TypeScript for {schema}")


def _union(values: Iterable[object]) -> str:
    return " | ".join(_literal(value) for value in values)


def _literal(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str, indent: str = "") -> str:
    if not text:
        return ""
    lines = text.splitlines()
    if len(lines) == 1:
        return f"{indent}/** {text} */\n"
    return f"{indent}/**\n" + "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines) + f"{indent} */\n"
