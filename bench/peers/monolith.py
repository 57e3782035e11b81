"""The monolith of monolith_app.py as a process."""

from collections.abc import Sequence
from pathlib import Path

from bench import parts
from bench.answers import WebSocketAnswer
from libs.local_stack.ports import free_ports
from tests.chaos.part import Part


class Monolith:
    """FastAPI and httpx in one process."""

    name = "monolith"

    def __init__(self, folder: Path, model_port: int) -> None:
        (self._port,) = free_ports(1)
        arguments = ["--port", str(self._port), "--model", f"http://127.0.0.1:{model_port}"]
        ready = f"http://127.0.0.1:{self._port}/healthz"
        module = "bench.peers.monolith_app"
        self.parts: Sequence[Part] = [parts.python_module("monolith", module, arguments, ready=ready, folder=folder)]

    async def open(self) -> None:
        await parts.start(self.parts)

    async def close(self) -> None:
        await parts.stop(self.parts)

    def answer(self, _number: int) -> WebSocketAnswer:
        return WebSocketAnswer(self._port, told_when_stored=False)
