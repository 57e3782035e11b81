"""Points in time, as they cross a process boundary."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

# Written in UTC, with a final Z; one without an offset would mean something else on every machine, and is refused.
Moment = Annotated[datetime, Meta(tz=True, description="ISO 8601, in UTC.")]
