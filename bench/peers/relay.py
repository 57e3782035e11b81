"""The relay of relay_app.py as processes: what this system's way costs by itself, with the same NATS in the middle."""

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from bench import parts
from bench.answers import SseAnswer
from libs.local_stack import broker
from libs.local_stack.ports import free_ports
from tests.chaos.part import Part
from tests.chaos.servers import greets, inherited


class Relay:
    """NATS, a worker and a gateway that only pass bytes on."""

    name = "bare relay"

    def __init__(self, folder: Path, model_port: int) -> None:
        nats, self._port = free_ports(2)
        server = [str(Path(sysconfig.get_path("scripts")) / "nats-server"), "-a", "127.0.0.1", "-p", str(nats)]
        listens = greets(nats, expected=b"INFO")
        self._server = Part("relay-nats", "nats", server, env=broker.ENVIRONMENT, folder=folder, ready=listens)
        command = [sys.executable, "-m", "bench.peers.relay_app"]
        self._services = [
            Part(f"relay-{part}", kind, [*command, part, *ports], env=inherited(), folder=folder, ready=listens)
            for part, kind, ports in (
                ("worker", "chat_worker", ["--nats", str(nats), "--port", str(model_port)]),
                ("gateway", "gateway", ["--nats", str(nats), "--port", str(self._port)]),
            )
        ]

    @property
    def parts(self) -> Sequence[Part]:
        return [self._server, *self._services]

    async def open(self) -> None:
        await parts.start([self._server])
        await parts.start(self._services)

    async def close(self) -> None:
        await parts.stop(self.parts)

    def answer(self, _number: int) -> SseAnswer:
        return SseAnswer(self._port)
