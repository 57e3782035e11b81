"""Identifiers that may enter a subject or a key, and how new ones are made."""

import re
import secrets
from typing import Annotated

from msgspec import Meta

# A subject token may hold no dot, space or wildcard; nats-py does not check this (it refuses only white space).
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
_ID = re.compile(ID_PATTERN)

RequestId = Annotated[str, Meta(pattern=ID_PATTERN, description="Makes a repeat of the same request harmless.")]
RowId = Annotated[int, Meta(ge=1, le=2**63 - 1)]

# Until accounts exist, everything belongs to this one user.
LOCAL_USER = "local"


def new_id() -> str:
    """A new random identifier: 128 bits, URL-safe, valid as a subject token."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None
