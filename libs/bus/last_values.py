"""The last message of each subject, kept by a stream: what somebody who comes late shows until the next one.

Subscribe first and read then; of the two, the message with the newer content counts.
"""

import asyncio
import time

import nats.errors
from msgspec import Struct
from nats.js.errors import APIError, NotFoundError

from libs.bus.connection import Bus, BusUnavailable
from libs.contract.streams import LastValueStream

READ_SECONDS = 2.0
READ_AT_ONCE = 32


class LastValue(Struct, frozen=True):
    """One message, and how long ago the stream has stored it (by the clocks of NATS and of this machine)."""

    subject: str
    payload: bytes
    age_seconds: float


async def last_value(bus: Bus, stream: LastValueStream, subject: str) -> LastValue | None:
    """The last message of one subject; None: there is none. Raises `BusUnavailable`."""
    try:
        found = await bus.jetstream(timeout=READ_SECONDS).get_last_msg(stream.name, subject, direct=True)
    except NotFoundError:
        return None
    except (APIError, nats.errors.Error, TimeoutError) as error:
        raise _unavailable(stream, error) from error
    if found.time is None or found.data is None:
        return None
    return LastValue(subject, found.data, max(0.0, time.time() - found.time.timestamp()))


async def last_values(bus: Bus, stream: LastValueStream) -> list[LastValue]:
    """The last message of every subject that the stream holds, by subject. Raises `BusUnavailable`."""
    try:
        info = await bus.jetstream(timeout=READ_SECONDS).stream_info(stream.name, subjects_filter=">")
    except (APIError, nats.errors.Error, TimeoutError) as error:
        raise _unavailable(stream, error) from error
    slots = asyncio.Semaphore(READ_AT_ONCE)

    async def read(subject: str) -> LastValue | None:
        async with slots:
            return await last_value(bus, stream, subject)

    found = await asyncio.gather(*(read(subject) for subject in sorted(info.state.subjects or {})))
    return [value for value in found if value is not None]


def _unavailable(stream: LastValueStream, error: Exception) -> BusUnavailable:
    if isinstance(error, (NotFoundError, nats.errors.NoRespondersError)):
        return BusUnavailable(f"The stream {stream.name} is missing: run the provisioning step.")
    return BusUnavailable(f"The stream {stream.name} does not answer: {str(error) or type(error).__name__}.")
