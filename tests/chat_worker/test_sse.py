"""The event stream parser: whatever the network does to the bytes, the events are the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contract.errors import ErrorCode, RequestError
from services.chat_worker.lm_studio.sse import MAX_EVENT_BYTES, Event, EventParser

STREAM = (
    ": comment\n\n"
    'data: {"content":"Olá 😀"}\n\n'
    "event: error\ndata: {}\n\n"
    "data: one\r\ndata: two\r\n\r\n"
    "data:no space\r\r"
    "error: old llama.cpp\n\n"
    "data:\n\n\n\nevent: alone\n\nid: 7\nretry: 1\n\n"
    "data: [DONE]\n\n"
).encode()

EVENTS = [
    Event('{"content":"Olá 😀"}'.encode()),
    Event(b"{}", "error"),
    Event(b"one\ntwo"),
    Event(b"no space"),
    Event(b"old llama.cpp", "error"),
    Event(b"[DONE]"),
]


def parse(*reads: bytes) -> list[Event]:
    parser = EventParser()
    return [event for read in reads for event in parser.feed(read)] + parser.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def test_every_form_of_event_is_read() -> None:
    """Comments, names without data and empty data are no events; all line ends are."""
    assert parse(STREAM) == EVENTS


@given(st.lists(st.integers(min_value=0, max_value=1000)))
def test_any_split_of_the_bytes_gives_the_same_events(places: list[int]) -> None:
    """Also in the middle of an emoji or between CR and LF."""
    assert parse(*cut(STREAM, places)) == EVENTS


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0, max_value=300)))
def test_any_bytes_are_survived_and_split_alike(data: bytes, places: list[int]) -> None:
    """Nothing raises, and the split changes nothing, for bytes that nobody planned."""
    assert parse(*cut(data, places)) == parse(data)


def test_an_event_per_byte_is_still_one_event() -> None:
    """The smallest reads there are."""
    assert parse(*(bytes([byte]) for byte in STREAM)) == EVENTS


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    """The data stays bytes; its text never raises."""
    assert [event.text for event in parse(b"data: a\xffb\n\n")] == ["a\ufffdb"]


def test_a_last_event_without_its_empty_line_is_read_at_the_end() -> None:
    """Some servers close right behind the last line."""
    parser = EventParser()
    assert parser.feed(b"data: [DONE]\n") == []
    assert parser.finish() == [Event(b"[DONE]")]
    assert parser.finish() == []


def test_an_event_that_never_ends_is_refused() -> None:
    """What is kept of a broken stream is bounded."""
    parser = EventParser()
    assert parser.feed(b"x" * MAX_EVENT_BYTES) == []
    with pytest.raises(RequestError) as caught:
        parser.feed(b"x")
    assert caught.value.code is ErrorCode.MODEL_ERROR
