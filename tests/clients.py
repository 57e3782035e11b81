"""The clients of all tests: each frame that reaches one is compared with the contract, also if the test ignores it.

A frame is decoded into its struct and written again: a field that is missing, undocumented, of another type, or null
where it should be missing makes a difference, and the test fails.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from websockets.asyncio.client import ClientConnection, connect

from libs.client import connection
from libs.client.connection import MAX_FRAME_BYTES, Client
from libs.contract.frames import FrameId
from libs.contract.protocol import ANSWERS, SERVER_FRAMES

D = TypeVar("D")


class UndocumentedFrame(AssertionError):
    """The server sent what the contract does not know."""


class Answer(Struct, Generic[D], kw_only=True):
    """A frame that may answer a request."""

    type: str
    id: FrameId | UnsetType = UNSET
    data: D


class BareAnswer(Struct):
    """One without data."""

    type: str
    id: FrameId | UnsetType = UNSET


class Push(Struct, Generic[D]):
    """A frame that comes by itself."""

    type: str
    data: D


def check_frame(frame: str | bytes) -> None:
    """Raises `UndocumentedFrame` unless this is exactly a frame of the contract."""
    told = msgspec.json.decode(frame)
    decoder = _decoders.get(str(told.get("type"))) if isinstance(told, dict) else None
    if decoder is None:
        raise UndocumentedFrame(f"no such type of frame: {_excerpt(frame)}")
    try:
        documented = msgspec.to_builtins(decoder.decode(frame))
    except msgspec.ValidationError as error:
        raise UndocumentedFrame(f"{error}: {_excerpt(frame)}") from error
    if documented != told:
        raise UndocumentedFrame(f"sent: {_excerpt(frame)}\ndocumented: {_excerpt(msgspec.json.encode(documented))}")


def open_client(url: str, *, timeout: float = 10) -> AbstractAsyncContextManager[Client]:
    """The project's own client, with the check."""
    return connection.open_client(url, check=check_frame, timeout=timeout)


def open_socket(url: str, **options: Any) -> connect:
    """A bare WebSocket for what no well-behaved client does, with the check. The options are those of `connect`."""
    return connect(url, create_connection=CheckedSocket, ping_interval=None, max_size=MAX_FRAME_BYTES, **options)


class CheckedSocket(ClientConnection):
    """Made by `open_socket`."""

    async def recv(self, decode: bool | None = None) -> Any:
        frame = await super().recv(decode)
        check_frame(frame)
        return frame


def _decoder(frame_type: str) -> msgspec.json.Decoder[Any]:
    frame = SERVER_FRAMES[frame_type]
    data: Any = frame.data
    if frame.data is None:
        return msgspec.json.Decoder(BareAnswer)
    if frame.whole:
        return msgspec.json.Decoder(data)
    return msgspec.json.Decoder(Answer[data] if frame_type in ANSWERS else Push[data])


def _excerpt(frame: str | bytes) -> str:
    text = frame if isinstance(frame, str) else frame.decode(errors="replace")
    return text if len(text) <= 2000 else f"{text[:2000]}…"


_decoders = {frame_type: _decoder(frame_type) for frame_type in SERVER_FRAMES}
