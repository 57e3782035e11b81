"""Server-sent events: bytes as they come off the socket in, whole events out.

Follows the event stream format of the HTML standard (https://html.spec.whatwg.org/multipage/server-sent-events.html),
with one addition: builds of llama.cpp through 2025 reported an error in a field `error:` of its own.

The stream is split on bytes and decoded never or late, so a multibyte character cut in two by the network stays whole.
"""

from typing import NamedTuple

from libs.contract.errors import ErrorCode, RequestError

# A token's event is about 250 bytes, none is near this: it bounds what a broken server can make us keep.
MAX_EVENT_BYTES = 1024 * 1024

_DATA = b"data: "


class Event(NamedTuple):
    """One event. `name` is the `event:` field ("" when there was none), or "error" for llama.cpp's `error:` field."""

    data: bytes
    name: str = ""

    @property
    def text(self) -> str:
        """The data as text; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")


class EventParser:
    """Splits one event stream. Feed it every read in order; `finish` at the end of the stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises `RequestError(model_error)` when one event is longer than `MAX_EVENT_BYTES`.
        """
        held = b""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data, held = _with_plain_line_ends(data)
        elif data.startswith(_DATA) and data.endswith(b"\n\n") and data.find(b"\n") == len(data) - 2:
            # One read, one token: nearly every read while a model is slower than the network.
            self._rest = b""
            return [Event(data[6:-2])]
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop() + held
        if len(self._rest) > MAX_EVENT_BYTES:
            raise RequestError(
                ErrorCode.MODEL_ERROR,
                "The model server sent one event of more than 1 MiB; this is no answer that can be read.",
            )
        events = []
        for block in blocks:
            if block.startswith(_DATA) and b"\n" not in block:
                events.append(Event(block[6:]))
            elif (event := _event(block)) is not None:
                events.append(event)
        return events

    def finish(self) -> list[Event]:
        """The last event, when the stream ended without the empty line that should close it."""
        event = _event(self._rest.replace(b"\r", b"\n"))
        self._rest = b""
        return [] if event is None else [event]


def _with_plain_line_ends(data: bytes) -> tuple[bytes, bytes]:
    r"""The bytes with `\n` for `\r\n` and `\r`, and a last `\r` held back: the next read shows if it is half of one."""
    held = b"\r" if data.endswith(b"\r") else b""
    return data.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n"), held


def _event(block: bytes) -> Event | None:
    """One block of lines as an event; None when it holds no data (comments, keep-alives, a name alone)."""
    name = ""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"error":
            name = "error"
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    joined = b"\n".join(data)
    return Event(joined, name) if joined else None
