"""What fan-out costs a server that is written for nothing else: nats-server's own WebSocket listener."""

import sysconfig
from pathlib import Path

from bench import parts
from bench.crowd import Crowd
from bench.loads import fan_out
from bench.loads.fan_out import SUBSCRIBERS, WAIT_SECONDS, Server
from bench.loads.following import sample_frame
from bench.marks import Marks
from bench.readings import Result, together
from libs.bus.connection import connect
from libs.local_stack.ports import free_ports
from tests.chaos.part import Part
from tests.chaos.servers import greets

NAME = "nats WebSocket"
SUBJECT = "bench"
STEADY_BYTES = 120

CONFIGURATION = """\
listen: "127.0.0.1:{port}"
websocket {{ listen: "127.0.0.1:{own}", no_tls: true }}
"""


class NatsWebSocket:
    """The server and its fan-out."""

    def __init__(self, folder: Path) -> None:
        self._port, self._own = free_ports(2)
        configuration = folder / "nats-websocket.conf"
        configuration.write_text(CONFIGURATION.format(port=self._port, own=self._own))
        command = [str(Path(sysconfig.get_path("scripts")) / "nats-server"), "--config", str(configuration)]
        ready = greets(self._port, expected=b"INFO")
        self._part = Part("nats-websocket", "nats-websocket", command, env={}, folder=folder, ready=ready)

    async def open(self) -> None:
        await parts.start([self._part])

    async def close(self) -> None:
        await parts.stop([self._part])

    async def fan_out(self, *, rounds: int, steady_seconds: float) -> Result:
        """The same as this system has to do. Raises `TimeoutError`."""
        assert self._part.pid is not None
        heard = Marks()
        crowd = Crowd(self._own, "/", binary=True, overhear=heard.read)
        server = Server(NAME, self._part.pid, crowd)
        results: list[Result] = []
        try:
            await crowd.grow(SUBSCRIBERS)
            crowd.expect(b"PONG")
            for socket in crowd.sockets:
                socket.send(b'CONNECT {"verbose":false}\r\nSUB %b 1\r\nPING\r\n' % SUBJECT.encode())
            await crowd.heard(WAIT_SECONDS)
            async with connect(f"nats://127.0.0.1:{self._port}", name="bench") as bus:

                async def publish_sample(_: int) -> None:
                    await bus.publish(SUBJECT, sample_frame())

                async def publish(_: int, marked: str) -> None:
                    await bus.publish(SUBJECT, marked.encode().ljust(STEADY_BYTES))

                for number in range(rounds):
                    result = await fan_out.once(fan_out.SAMPLE, server, b"MSG", publish_sample, number)
                    results.append(result)
                results.append(await fan_out.steady(server, heard, publish, steady_seconds))
        finally:
            crowd.leave()
        return together(results)
