"""Frozen samples, one line a frame, exactly as on the wire: samples/requests.jsonl and samples/frames.jsonl.

A line may be added for what is new. To change one is to change the protocol for every client that exists.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from libs.contract import frames
from libs.contract.frames import ClientFrame
from libs.contract.protocol import CLIENT_FRAMES, SERVER_FRAMES, FromServer

FOLDER = Path(__file__).parent / "samples"
REQUESTS = (FOLDER / "requests.jsonl").read_text(encoding="utf-8").splitlines()
FRAMES = (FOLDER / "frames.jsonl").read_text(encoding="utf-8").splitlines()


def type_of(line: str) -> str:
    return msgspec.json.decode(line, type=ClientFrame).type


def data_of_request(line: str) -> Struct | None:
    """What the gateway reads of a request."""
    frame = msgspec.json.decode(line, type=ClientFrame)
    data = CLIENT_FRAMES[frame.type].data
    return None if data is None else msgspec.json.decode(frame.data, type=data)


def data_of_frame(line: str) -> Struct | None:
    """What the server has made a frame of."""
    told: FromServer = SERVER_FRAMES[type_of(line)]
    if told.data is None:
        return None
    return msgspec.json.decode(line if told.whole else frames.data_of(line.encode()), type=told.data)


def written(line: str, data: Struct | None, *, whole: bool = False) -> str:
    """The frame with this data, and the type and id of that line, as the project itself writes it."""
    if whole:
        return msgspec.json.encode(data).decode()
    frame = msgspec.json.decode(line, type=ClientFrame)
    return frames.encode(frame.type, *([] if data is None else [data]), frame_id=frame.id).decode()
