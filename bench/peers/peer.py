"""What everything that is measured with chats has in common."""

from collections.abc import Sequence
from typing import Protocol

from bench.answers import Answer
from tests.chaos.part import Part


class Peer(Protocol):
    """`parts`: the processes that are measured; whatever else runs is not counted."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Sequence[Part]: ...

    async def open(self) -> None:
        """Starts it. Raises `TimeoutError` if it does not become ready."""
        ...

    async def close(self) -> None: ...

    def answer(self, number: int) -> Answer:
        """The next answer, not yet asked for; `number` counts them, to spread them."""
        ...


class PeerMissing(Exception):
    """Why a peer is left out, in one sentence for a person."""
