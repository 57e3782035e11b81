"""Why this server closes a connection, as clients may act on it.

4000 to 4099: do not reconnect. 4100 to 4199: reconnect with backoff. 4200 to 4299: reconnect within the window told.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the server has closed the connection."""

    TOO_SLOW = 4102
    HEARTBEAT_MISSED = 4103
    DRAINING = 4200


MEANINGS = {
    CloseCode.TOO_SLOW: "The client left too much unread. Reconnect with backoff.",
    CloseCode.HEARTBEAT_MISSED: "The client has not answered the server's ping. Reconnect with backoff.",
    CloseCode.DRAINING: "This gateway goes away. Reconnect, anywhere, within the window of `session:draining`.",
}
