"""Where a piece of an answer belongs, read from the bytes of its frame."""

import msgspec
import pytest

from libs.contract import frames
from libs.contract.chat import ChatStreaming
from libs.contract.frames import ClientFrame, FrameId
from services.gateway.places import Place, place_of, request_id_of
from tests.contract.frozen import FRAMES, type_of
from tests.gateway.played_answers import end, piece

STREAMING = [line for line in FRAMES if type_of(line) == "chat:streaming"]
# What a text can hold that looks like a field.
SLY = ',"reset":true,"requestId":"x"}}\\",\\"seq\\":7,"chunk":"'


def decoded(frame: bytes) -> Place:
    """The same, the slow way."""
    told = msgspec.json.decode(frame, type=ClientFrame)
    data = msgspec.json.decode(told.data, type=ChatStreaming)
    return Place(
        data.message_id,
        None if told.id is None else msgspec.json.encode(told.id),
        data.epoch,
        data.from_seq or data.seq,
        data.seq,
        data.reset,
        data.done,
    )


@pytest.mark.parametrize("line", STREAMING)
def test_the_frozen_frames_are_read_as_they_are_decoded(line: str) -> None:
    """So the order in which the fields are written is the one that is read."""
    assert place_of(line.encode()) == decoded(line.encode())


@pytest.mark.parametrize("frame_id", [None, 7, -7, "a", "", 'a"b\\', "ação 👍", '","data":{"seq":1'])
@pytest.mark.parametrize(
    "told",
    [
        piece(1),
        piece(3, SLY),
        piece(900, first=2),
        piece(5, SLY, reset=True),
        piece(12, epoch=3, reset=True),
        end(13),
        msgspec.structs.replace(piece(2, ""), reasoning=SLY),
    ],
)
def test_every_frame_that_a_worker_writes_is_read(told: ChatStreaming, frame_id: FrameId | None) -> None:
    """Whatever its text and its id hold."""
    frame = frames.encode("chat:streaming", told, frame_id=frame_id)
    assert place_of(frame) == decoded(frame)
    assert request_id_of(frame) == told.request_id


@pytest.mark.parametrize("line", [line for line in FRAMES if line not in STREAMING])
def test_other_frames_have_no_place(line: str) -> None:
    """They are forwarded as they are."""
    assert place_of(line.encode()) is None
