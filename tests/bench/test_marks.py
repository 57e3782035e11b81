"""What the marks in the tokens tell about loss, repetition, order and delay."""

import pytest

from bench.marks import LONGEST_MARK, Marks, mark


def read(*indices: int) -> Marks:
    marks = Marks()
    for index in indices:
        marks.read(mark(index, 1_000_000), 3_000_000)
    return marks


def test_an_answer_that_came_whole_and_in_order_is_perfect() -> None:
    """Nothing is counted."""
    assert read(0, 1, 2).order(3).perfect


@pytest.mark.parametrize(
    ("indices", "order"),
    [((0, 2), (1, 0, 0)), ((0, 1, 1, 2), (0, 1, 0)), ((0, 2, 1), (0, 0, 1)), ((), (3, 0, 0)), ((2, 2, 0), (1, 1, 1))],
)
def test_what_is_lost_repeated_or_out_of_order_is_counted(
    indices: tuple[int, ...], order: tuple[int, int, int]
) -> None:
    """Each by itself."""
    assert tuple(read(*indices).order(3)) == order


def test_several_marks_of_one_frame_are_read_and_what_follows_is_left() -> None:
    """As they come when a peer makes one frame of several tokens."""
    marks = Marks()
    text = b'{"chunk":"' + mark(0, 5) + mark(1, 6) + b'"'
    assert text[marks.read(text, 9) :] == b'"'
    assert list(marks.indices) == [0, 1]
    assert list(marks.sent_ns) == [5, 6]


def test_the_time_on_the_way_is_in_milliseconds() -> None:
    """From the model's clock to the client's, which is the same."""
    assert read(0).added_ms() == [2.0]


def test_what_comes_again_was_seen_the_first_time() -> None:
    """But a token that another attempt of the model made is a new one."""
    marks = Marks()
    marks.read(mark(0, 1_000_000) + mark(1, 1_000_000), 2_000_000)
    marks.forget()
    marks.read(mark(0, 1_000_000) + mark(1, 5_000_000), 8_000_000)
    assert marks.order(2).perfect
    assert marks.added_ms() == [1.0, 3.0]


def test_a_mark_that_is_cut_in_two_is_not_read_yet() -> None:
    """The rest comes with the next read."""
    marks = Marks()
    assert marks.read(mark(7, 123)[:-1], 0) == 0
    assert len(marks) == 0


def test_no_mark_is_longer_than_what_is_kept_of_a_read() -> None:
    """Also on a machine that has run for years."""
    assert len(mark(10**6, 10**18)) <= LONGEST_MARK
