"""Thinking inside the answer's text: told apart, wherever the network cuts the tags."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat_worker.lm_studio.thinking import ThinkingSplitter

CASES = {
    "no tag": ("Olá! 2 < 3", "Olá! 2 < 3", ""),
    "thinking then answer": ("<think>hm 🤔</think>Olá", "Olá", "hm 🤔"),
    "white space around the tags": (" \n<think>\nhm\n</think>\n\nOlá\n", "Olá\n", "hm\n"),
    "empty thinking": ("<think>\n\n</think>\n\nOlá", "Olá", ""),
    "only thinking, cut short": ("<think>hm </thi", "", "hm </thi"),
    "nothing but half an opener": (" <thin", " <thin", ""),
    "nothing but white space": (" \n ", " \n ", ""),
    "a tag later in the answer is text": ("Use <think>x</think> so", "Use <think>x</think> so", ""),
    "a second block is text": ("<think>a</think>b<think>c</think>", "b<think>c</think>", "a"),
    "a closing tag without opener is text": ("hm</think>Olá", "hm</think>Olá", ""),
    "nearly a closing tag": ("<think>a</thinker></think>b", "b", "a</thinker>"),
}


def split(*texts: str) -> tuple[str, str]:
    splitter = ThinkingSplitter()
    parts = [*map(splitter.feed, texts), splitter.finish()]
    return "".join(answer for answer, _ in parts), "".join(thought for _, thought in parts)


@pytest.mark.parametrize(("text", "answer", "thought"), CASES.values(), ids=CASES.keys())
def test_thinking_and_answer_are_told_apart(text: str, answer: str, thought: str) -> None:
    """Whole, and character by character."""
    assert split(text) == (answer, thought)
    assert split(*text) == (answer, thought)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think", ">", "/", " ", "\n", "a", "😀"])), st.data())
def test_any_split_of_the_text_gives_the_same_result(words: list[str], data: st.DataObject) -> None:
    """The result depends on the text alone."""
    text = "".join(words)
    places = data.draw(st.lists(st.integers(min_value=0, max_value=len(text))))
    edges = [0, *sorted(places), len(text)]
    assert split(*(text[start:end] for start, end in itertools.pairwise(edges))) == split(text)


@given(st.text(alphabet="<think>/ a"))
def test_no_more_than_a_tag_is_ever_held_back(text: str) -> None:
    """An answer is not delayed: what is not shown yet could still be a tag (or the white space before one)."""
    splitter = ThinkingSplitter()
    shown = ""
    for character in text:
        answer, thought = splitter.feed(character)
        shown += answer + thought
    held = "".join(splitter.finish())
    assert len(held.strip()) < len("</think>")
