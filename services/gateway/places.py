"""Where a piece of an answer belongs, read from the first bytes of its finished frame: no decoding on the hot path."""

import re
from typing import NamedTuple

# The order of the fields is that of `ChatStreaming`; a test compares the two.
_STREAMING = re.compile(
    rb'\{"type":"chat:streaming",(?:"id":(-?\d+|"(?:[^"\\]|\\.)*"),)?"data":\{'
    rb'"conversationId":\d+,"messageId":(\d+),"epoch":(\d+),"seq":(\d+),(?:"fromSeq":(\d+),)?"chunk":"(","done":true)?'
)
# Within a JSON string a quotation mark has a backslash before it, so these stand for nothing but the fields.
_RESET = b',"reset":true'
_REQUEST_ID = re.compile(rb',"requestId":"([A-Za-z0-9_-]+)"')


class Place(NamedTuple):
    """The frame stands for the pieces `first` to `seq` of this epoch. `frame_id` is JSON."""

    message_id: int
    frame_id: bytes | None
    epoch: int
    first: int
    seq: int
    reset: bool
    done: bool


def place_of(frame: bytes) -> Place | None:
    """None: it is no piece of an answer, or not as this project writes one."""
    found = _STREAMING.match(frame)
    if found is None:
        return None
    frame_id, message_id, epoch, seq, first, done = found.groups()
    return Place(int(message_id), frame_id, int(epoch), int(first or seq), int(seq), _RESET in frame, done is not None)


def request_id_of(frame: bytes) -> str | None:
    """The id of the request that a finished frame names. Of an answer's pieces only its first one does, and its end."""
    found = _REQUEST_ID.search(frame)
    return None if found is None else found[1].decode()
