"""`scripts/contract`: writes what `docs/contract` publishes. The same code always writes the same bytes."""

import json
from pathlib import Path

from libs.contract_docs import asyncapi, json_schema, typescript

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "contract"


def published() -> dict[str, str]:
    """The text of each file, by name."""
    return {
        "asyncapi.json": _pretty(asyncapi.document()),
        "schema.json": _pretty(json_schema.document()),
        "orquestrador.d.ts": typescript.module(),
    }


def _pretty(document: json_schema.Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in published().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
