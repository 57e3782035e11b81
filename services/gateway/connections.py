"""The open connections of a gateway, all fed by one bus subscription.

uvicorn ─▶ Socket ── a new client ──▶ Connections.welcome
reply.<gateway>.<connection> ─▶ Connections.deliver ─▶ Connection.take
"""

import asyncio
import contextlib

from libs.contract import frames, subjects
from libs.contract.close_codes import CloseCode
from libs.contract.frames import SessionDraining
from services.gateway import metrics
from services.gateway.connection import CLOSE_SECONDS, Connection, Gateway
from services.gateway.sockets import Socket


class Connections:
    """Every connection of this gateway, by id."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open: dict[str, Connection] = {}
        # What everybody is told while this gateway goes away.
        self._goodbye: bytes | None = None

    def welcome(self, socket: Socket) -> Connection:
        """A new client."""
        connection = Connection(socket, self._gateway, ended=self._open.pop)
        self._open[connection.id] = connection
        if self._goodbye is not None:
            # Let in all the same: a browser that is refused sees neither why nor what to do.
            connection.put(self._goodbye)
            connection.close(CloseCode.DRAINING)
        return connection

    def deliver(self, subject: str, message: bytes) -> None:
        """Hands finished frames from the bus to the connection that the subject names."""
        connection = self._open.get(subjects.last_token(subject))
        if connection is None:
            metrics.REPLIES_DROPPED.inc()
        else:
            connection.take(message)

    def count(self) -> int:
        return len(self._open)

    def waiting_bytes(self) -> int:
        return sum(connection.queue.waiting_bytes for connection in self._open.values())

    def pending(self) -> int:
        return sum(len(connection.questions) + len(connection.wishes) for connection in self._open.values())

    def subscriptions(self) -> int:
        return sum(connection.subscriptions.count() for connection in self._open.values())

    def watched(self) -> int:
        return sum(connection.answers.count() for connection in self._open.values())

    async def drain(self, seconds: float) -> None:
        """Sends every client away, evenly over `seconds`, so that they do not all reconnect at the same moment."""
        self._goodbye = frames.encode("session:draining", SessionDraining(reconnect_within_ms=int(seconds * 1000)))
        leaving = list(self._open.values())
        for connection in leaving:
            connection.put(self._goodbye)

        async def send_away(connection: Connection, after: float) -> None:
            await asyncio.sleep(after)
            connection.close(CloseCode.DRAINING)
            await connection.ended()

        away = (send_away(one, seconds * number / len(leaving)) for number, one in enumerate(leaving))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + 2 * CLOSE_SECONDS + 1):
                await asyncio.gather(*away)
