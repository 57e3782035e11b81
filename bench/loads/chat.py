"""Many answers at once through one peer: what a token costs, how late it comes, and whether all of them come."""

import asyncio
import gc
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil

from bench import parts
from bench.answers import Answer
from bench.marks import Order
from bench.peers.peer import Peer
from bench.readings import Reading, Result, percentile
from bench.report import PART_OF
from bench.usage import total_cpu_ns

# Connections that are opened at once.
BATCH = 50
# Shown of those that may all have failed for the same reason.
MOST_FAILURES = 3
# The same for every peer and round.
SEED = 1


class ChatLoad(NamedTuple):
    """`streams` answers of `tokens` tokens each, asked for at random moments within `spread_seconds`."""

    name: str
    streams: int
    tokens: int
    model: str
    spread_seconds: float
    limit_seconds: float

    @property
    def paced(self) -> bool:
        return self.model.startswith("paced")


W1 = ChatLoad("W1: 20 × 200 tokens at 50/s", 20, 200, "paced-200-50", 1.0, 60)
W2 = ChatLoad("W2: 100 × 200 tokens at 50/s", 100, 200, "paced-200-50", 2.0, 90)
W3 = ChatLoad("W3: 20 × 1000 tokens, unpaced", 20, 1000, "tokens-1000", 0.0, 90)
W4 = ChatLoad("W4: 300 × 50/s for a minute", 300, 3000, "paced-3000-50", 5.0, 150)
W4_QUICK = ChatLoad("W4: 300 × 50/s for 10 s", 300, 500, "paced-500-50", 5.0, 60)


async def run(load: ChatLoad, peer: Peer) -> Result:
    """One round."""
    answers = [peer.answer(number) for number in range(load.streams)]
    try:
        for first in range(0, len(answers), BATCH):
            await asyncio.gather(*(answer.open() for answer in answers[first : first + BATCH]))
        return await _measured(load, peer, answers)
    finally:
        for answer in answers:
            answer.close()


async def _measured(load: ChatLoad, peer: Peer, answers: Sequence[Answer]) -> Result:
    gc.collect()
    gc.disable()  # A pause of the client would count as the peer's.
    psutil.cpu_percent()
    client, began = time.process_time(), time.monotonic()
    before = {kind: total_cpu_ns(pids) for kind, pids in parts.pids(peer.parts).items()}
    try:
        await _ask_all(load, answers)
    finally:
        gc.enable()
    cpu = {kind: (total_cpu_ns(pids) - before.get(kind, 0)) / 1000 for kind, pids in parts.pids(peer.parts).items()}
    busy, own = psutil.cpu_percent(), (time.process_time() - client) / (time.monotonic() - began) * 100
    faults = [f"{peer.name}, {load.name}: {fault}" for fault in [*_faults(load, answers), *parts.ended(peer.parts)]]
    readings = [Reading(load.name, metric, peer.name, value) for metric, value in _values(load, answers, cpu).items()]
    readings += [
        Reading(load.name, "machine busy %", peer.name, busy),
        Reading(load.name, "client busy %", peer.name, own),
    ]
    return Result(readings, faults)


async def _ask_all(load: ChatLoad, answers: Sequence[Answer]) -> None:
    chance = random.Random(SEED)  # noqa: S311 (spreads load, guards nothing)
    offsets = sorted(chance.uniform(0, load.spread_seconds) for _ in answers)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for offset, answer in zip(offsets, answers, strict=True):
        loop.call_at(started + offset, answer.ask, load.model)
    with suppress(TimeoutError):  # That is slow, and said by a number; it is no fault.
        async with asyncio.timeout(load.limit_seconds):
            for answer in answers:
                await answer.over.wait()


def _order(load: ChatLoad, answer: Answer) -> Order:
    """Of an answer that is not over, what has not come yet is not lost."""
    return answer.marks.order(load.tokens if answer.over.is_set() else max(answer.marks.indices, default=-1) + 1)


def _faults(load: ChatLoad, answers: Sequence[Answer]) -> list[str]:
    orders = [_order(load, answer) for answer in answers]
    counts = {
        "tokens lost": sum(order.lost for order in orders),
        "tokens repeated": sum(order.repeated for order in orders),
        "tokens out of order": sum(order.out_of_order for order in orders),
        "stored answers that are not whole": sum(
            answer.over.is_set() and answer.stored_tokens() not in (None, load.tokens) for answer in answers
        ),
    }
    failures = sorted(answer.failed for answer in answers if answer.failed is not None)
    counts["answers that failed; the first of them follow"] = len(failures)
    return [f"{count} {what}" for what, count in counts.items() if count] + failures[:MOST_FAILURES]


def _values(load: ChatLoad, answers: Sequence[Answer], cpu_us: dict[str, float]) -> dict[str, float]:
    tokens = sum(len(answer.marks) for answer in answers)
    orders = [_order(load, answer) for answer in answers]
    values: dict[str, float] = {}
    if tokens and cpu_us:
        values["CPU µs/token"] = sum(cpu_us.values()) / tokens
        if len(cpu_us) > 1:
            values |= {f"{PART_OF} {kind}": used / tokens for kind, used in cpu_us.items()}
    if load.paced:
        first = [(answer.first_ns - answer.asked_ns) / 1e6 for answer in answers if answer.first_ns is not None]
        stored = [(answer.stored_ns - answer.asked_ns) / 1e6 for answer in answers if answer.stored_ns is not None]
        added = [late for answer in answers for late in answer.marks.added_ms()]
        values |= _percentiles("first token ms", first) | _percentiles("token added ms", added)
        values |= _percentiles("question stored ms", stored)
    elif tokens:
        began = min(answer.asked_ns for answer in answers)
        ended = max((answer.marks.arrived_ns[-1] for answer in answers if answer.marks), default=time.monotonic_ns())
        values["tokens/s"] = tokens / (ended - began) * 1e9
    unfinished = sum(not answer.over.is_set() for answer in answers)
    if unfinished:
        values[f"not over after {load.limit_seconds:g} s"] = unfinished
    resets = sum(answer.resets for answer in answers)
    if resets:
        values["answers sent again"] = resets
    values["lost or repeated"] = sum(order.lost + order.repeated for order in orders)
    return values


def _percentiles(what: str, values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"{what} p50": percentile(values, 0.5), f"{what} p99": percentile(values, 0.99)}
