"""A client's picture of an answer, frame by frame, as the protocol wants it."""

from typing import Any

from tests.chaos.transcripts import Asked, Step, View


def view() -> View:
    return View(Asked("r1", None, "question", "paced-3-50", at=0.0))


def piece(epoch: int, seq: int, chunk: str, **more: Any) -> dict[str, Any]:
    return {"messageId": 7, "epoch": epoch, "seq": seq, "chunk": chunk, "done": False, **more}


def test_pieces_in_order_make_the_text() -> None:
    """The first one needs no reset."""
    shown = view()
    assert [shown.take(piece(1, seq, chunk)) for seq, chunk in ((1, "a"), (2, "b"))] == [Step.NEXT, Step.NEXT]
    assert (shown.text, shown.epoch, shown.seq) == ("ab", 1, 2)


def test_a_piece_that_was_shown_before_changes_nothing() -> None:
    """The same position again, also in another guise."""
    shown = view()
    shown.take(piece(1, 1, "a"))
    assert shown.take(piece(1, 1, "a")) is Step.DOUBLE
    assert shown.text == "a"


def test_a_missing_piece_is_noticed() -> None:
    """In the middle, at the start, before a new epoch's first piece, and before the end."""
    shown = view()
    assert shown.take(piece(1, 2, "b")) is Step.GAP
    shown.take(piece(1, 1, "a"))
    assert shown.take(piece(1, 3, "c")) is Step.GAP
    assert shown.take(piece(2, 1, "x")) is Step.GAP
    assert shown.take(piece(1, 3, "", done=True)) is Step.GAP
    assert shown.text == "a"


def test_a_piece_that_stands_for_several_fits_only_behind_the_last() -> None:
    """`fromSeq` to `seq`."""
    shown = view()
    shown.take(piece(1, 1, "a"))
    assert shown.take(piece(1, 5, "de", fromSeq=4)) is Step.GAP
    assert shown.take(piece(1, 5, "bcde", fromSeq=2)) is Step.NEXT
    assert (shown.text, shown.seq) == ("abcde", 5)


def test_a_reset_counts_unless_it_is_of_an_older_epoch() -> None:
    """The text so far is forgotten; a dead worker's is not taken up again."""
    shown = view()
    shown.take(piece(1, 1, "a"))
    assert shown.take(piece(2, 4, "whole", reset=True)) is Step.NEXT
    assert shown.take(piece(1, 9, "old", reset=True)) is Step.STALE
    assert shown.take(piece(2, 5, " text")) is Step.NEXT
    assert shown.text == "whole text"


def test_an_answer_is_over_when_its_last_frame_was_seen() -> None:
    """After `done` comes the stored message; after a failure the error."""
    shown = view()
    shown.take(piece(1, 1, "a"))
    shown.take(piece(1, 2, "", done=True, status="complete"))
    assert not shown.over
    shown.message = {"content": "a"}
    assert shown.over


def test_an_echo_may_answer_several_questions_at_once() -> None:
    """Those before it whose answers stayed empty are joined with it."""
    asked = Asked("r1", None, "c", "echo", at=0.0)
    assert len(set(asked.whole_texts(["a", "b", "c"]))) == 3
