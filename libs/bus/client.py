"""nats-py's client with a short way in and out for the messages that come by the thousand: tokens.

    write ── into the socket, at once ──────────▶ NATS    (nats-py: four coroutines, a future, a queue and a task)
    hear  ◀── out of the read loop, at once ──── NATS    (nats-py: a `Msg`, a queue and a task)

uvloop gathers what one pass of the event loop writes into one system call, so nobody else has to.
"""

from collections.abc import Callable
from typing import Any

import nats.aio.client
import structlog
from nats.aio.subscription import Subscription

log = structlog.get_logger(__name__)

# What may wait in the socket for a server that reads slowly; then `publish` waits for it.
MAX_UNSENT_BYTES = 256 * 1024

Hear = Callable[[str, bytes], None]


class Client(nats.aio.client.Client):
    """Made for nats-py 2.16: it relies on names inside it, which the tests of this folder use."""

    def __init__(self) -> None:
        super().__init__()
        self._hearing: dict[int, Hear] = {}

    def write(self, subject: str, payload: bytes) -> bool:
        """Sends it now, behind all that was sent before. False: it is not sent; `publish` has to wait for its turn."""
        if self._pending or not self.is_connected:
            return False
        transport = self._transport._io_writer.transport  # type: ignore[union-attr] # noqa: SLF001 (there is one while connected)
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            return False
        transport.write(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload))
        return True

    def hear(self, subscription: Subscription, hear: Hear) -> None:
        """From now on its messages go to `hear(subject, payload)`. It must not wait; what it raises is logged."""
        self._hearing[subscription._id] = hear  # noqa: SLF001 (nats-py's own key of its subscriptions)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._hearing.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        hear = self._hearing.get(sid)
        if hear is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            hear(subject.decode(), data)
        except Exception:
            # It would end the read loop, and with it everything this process hears.
            log.exception("a message could not be taken", subject=subject)
