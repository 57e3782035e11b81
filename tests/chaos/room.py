"""What all clients of a run share: where the gateways are, the journal, and every request that anybody has sent."""

import asyncio
from dataclasses import dataclass, field

from tests.chaos.journal import Journal
from tests.chaos.transcripts import Asked


@dataclass
class Room:
    """What all clients share."""

    sockets: dict[str, str]
    journal: Journal
    resume: bool
    """Whether the system knows `chat:resume`; if not, a client repeats its request instead."""
    asked: dict[str, Asked] = field(default_factory=dict)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing new is begun any more."""

    def ended(self) -> int:
        """How many requests somebody has seen the end of."""
        return sum(any(view.over for view in asked.views) for asked in self.asked.values())

    def running(self) -> list[Asked]:
        """Requests with an answer that somebody is still waiting for."""
        return [
            asked
            for asked in self.asked.values()
            if asked.accepted_at is not None and not any(view.over for view in asked.views)
        ]
