"""The floor: nothing between the client and the model server."""

from collections.abc import Sequence

from bench.answers import SseAnswer
from tests.chaos.part import Part


class Direct:
    """The model server itself, which is not measured."""

    name = "direct SSE"
    parts: Sequence[Part] = ()

    def __init__(self, model_port: int) -> None:
        self._model_port = model_port

    async def open(self) -> None:
        """It runs already."""

    async def close(self) -> None:
        """Somebody else's."""

    def answer(self, _number: int) -> SseAnswer:
        return SseAnswer(self._model_port)
