"""The JetStream streams and consumers. Created by `libs.provisioning`, never by a service that starts."""

import msgspec

from libs.contract import subjects


class WorkStream(msgspec.Struct, frozen=True, kw_only=True):
    """A queue on disk: each message waits until one worker has acknowledged it.

    `max_bytes` bounds the queue; a full queue refuses (the client sees `busy`) and never drops accepted work.
    Only `max_bytes` is set, not `max_msgs` too: both together with discard=new can acknowledge without storing
    (nats-server issue 4771).
    """

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_message_bytes: int
    duplicate_window_seconds: float
    consumer: str
    ack_wait_seconds: float
    # Must exceed the slots of all workers together, or workers starve silently.
    max_ack_pending: int


class LastValueStream(msgspec.Struct, frozen=True, kw_only=True):
    """Keeps the last message of each subject, so that who comes later does not wait for the next one.

    On disk: a stream in memory is not empty but missing after a restart of a single NATS server.
    """

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_message_bytes: int
    max_age_seconds: float


CHAT = WorkStream(
    name="CHAT",
    subjects=(subjects.CHAT_SEND_ALL,),
    max_bytes=1024**3,
    max_message_bytes=256 * 1024,
    # Covers the gateway's own retries of one publish (15 s at most); repeats by clients are found in the database.
    duplicate_window_seconds=120,
    consumer="chat_worker",
    # A dead worker's requests come back after this long; a live one beats three times as often.
    ack_wait_seconds=3,
    max_ack_pending=10_000,
)

CHAT_DEAD_LETTERS = LastValueStream(
    name="CHAT_DEAD_LETTERS",
    subjects=(subjects.CHAT_DEAD_LETTER_ALL,),
    max_bytes=256 * 1024**2,
    max_message_bytes=512 * 1024,
    max_age_seconds=30 * 24 * 3600,
)

MONITORING = LastValueStream(
    name="MONITORING",
    subjects=(subjects.MONITORING_SAMPLED_ALL,),
    max_bytes=256 * 1024**2,
    max_message_bytes=256 * 1024,
    # A host that is gone is remembered so long.
    max_age_seconds=24 * 3600,
)

ALL: tuple[WorkStream | LastValueStream, ...] = (CHAT, CHAT_DEAD_LETTERS, MONITORING)
