"""Every token of the bench's model says which one it is and when it was sent: `~17:22700123456789;`.

model ── ~0:…; ~1:…; ~2:…; ──▶ what is measured ── the same text, in frames of its own ──▶ client reads the marks

ASCII that no JSON encoder touches. The times are `time.monotonic_ns`, which all processes of one machine share.
"""

import re
from array import array
from typing import NamedTuple

_MARK = re.compile(rb"~(\d+):(\d+);")
# A mark is shorter than this, so the rest of what was read needs to be kept no longer.
LONGEST_MARK = 40


def mark(index: int, sent_ns: int) -> bytes:
    """
    >>> mark(17, 123)
    b'~17:123;'
    """
    return b"~%d:%d;" % (index, sent_ns)


class Order(NamedTuple):
    """How the tokens of one answer came. In a perfect answer all are 0."""

    lost: int
    repeated: int
    out_of_order: int

    @property
    def perfect(self) -> bool:
        return not any(self)


class Marks:
    """The marks of one answer, in the order in which they came."""

    def __init__(self) -> None:
        self.indices = array("q")
        self.sent_ns = array("q")
        self.arrived_ns = array("q")
        self._before: dict[tuple[int, int], int] = {}

    def read(self, data: bytes, now_ns: int) -> int:
        """Keeps the marks in `data` → where the last one ends; 0: there is none."""
        end = 0
        for found in _MARK.finditer(data):
            index, sent = found.groups()
            self.indices.append(int(index))
            self.sent_ns.append(int(sent))
            self.arrived_ns.append(now_ns)
            end = found.end()
        return end

    def forget(self) -> None:
        """The client was told that the answer comes again from its beginning. What it had seen, it had seen in time."""
        self._before |= {(i, sent): at for i, sent, at in zip(self.indices, self.sent_ns, self.arrived_ns, strict=True)}
        del self.indices[:], self.sent_ns[:], self.arrived_ns[:]

    def __len__(self) -> int:
        return len(self.indices)

    def added_ms(self) -> list[float]:
        """How long each token was on its way to where it was seen first."""
        came = zip(self.indices, self.sent_ns, self.arrived_ns, strict=True)
        return [(self._before.get((index, sent), arrived) - sent) / 1e6 for index, sent, arrived in came]

    def order(self, expected: int) -> Order:
        """Compared with the tokens 0 to `expected` - 1, each once and in this order."""
        seen = set(self.indices)
        highest = -1
        late = 0
        for index in self.indices:
            late += index < highest
            highest = max(highest, index)
        return Order(
            lost=len(set(range(expected)) - seen),
            repeated=len(self.indices) - len(seen),
            out_of_order=late,
        )
