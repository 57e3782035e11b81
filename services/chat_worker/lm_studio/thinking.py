"""Keeps a model's thinking apart from its answer when both come as one text: `<think>…</think>answer`.

What is decided here, because text that was sent cannot be taken back:

- The opening tag counts only at the very start of the answer (after white space), where every reasoning model puts it.
  Later it is text: an answer that explains the tag is not swallowed.
- Text is held back only while it may still turn out to be a tag: at most seven characters.
- Some templates put the opener into the prompt, so the answer starts in the middle of the thinking and only a
  `</think>` shows it, too late. Such an answer is passed on as it is, its `</think>` included: nothing is lost, and a
  reader sees where the thinking ended. LM Studio's setting "separate reasoning_content" avoids it.
"""

_OPEN = "<think>"
_CLOSE = "</think>"


class ThinkingSplitter:
    """Splits one answer. The result does not depend on where the network cut the text."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False
        self._decided = False
        self._at_edge = False  # right behind a tag, where white space belongs to nobody

    def feed(self, text: str) -> tuple[str, str]:
        """More of what the model said → (answer, thinking), as far as it is decided."""
        if self._decided and not self._thinking and not self._at_edge:
            return text, ""
        text = self._held + text
        self._held = ""
        thought = ""
        if not self._decided:
            text = self._decide(text)
        if self._thinking:
            text, thought = self._think(text)
        if self._decided and not self._thinking:
            text = self._behind_edge(text)
        return text, thought

    def finish(self) -> tuple[str, str]:
        """What was still held back when the answer ended → (answer, thinking)."""
        held, self._held = self._held, ""
        return ("", held) if self._thinking else (held, "")

    def _decide(self, text: str) -> str:
        start = text.lstrip()
        if start.startswith(_OPEN):
            self._decided = self._thinking = self._at_edge = True
            return start[len(_OPEN) :]
        if _OPEN.startswith(start):
            self._held = text
            return ""
        self._decided = True
        return text

    def _think(self, text: str) -> tuple[str, str]:
        """Text inside the tags → (answer behind the closing tag, thinking)."""
        text = self._behind_edge(text)
        thought, close, answer = text.partition(_CLOSE)
        if close:
            self._thinking = False
            self._at_edge = True
            return answer, thought
        kept = len(text) - _overlap(text, _CLOSE)
        self._held = text[kept:]
        return "", text[:kept]

    def _behind_edge(self, text: str) -> str:
        if not self._at_edge:
            return text
        text = text.lstrip()
        self._at_edge = not text
        return text


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of the text may be the start of the tag."""
    return next((size for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), 0)
