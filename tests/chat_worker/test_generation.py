"""One running answer: how long it may get, and what becomes of its pieces while NATS is away."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from libs.bus.connection import Bus
from libs.contract import frames
from libs.contract.chat import ChatStreaming, MessageStatus, Role
from libs.contract.generations import Asker, GenerationCommand, Position
from services.chat_worker.generation import MAX_ANSWER_BYTES, Generation
from services.chat_worker.lease import Lease
from services.chat_worker.records import StoredMessage
from tests.brokers import Server
from tests.on_the_bus import listening
from tests.waiting import until

REPLY = "reply.gateway.connection"


def running(bus: Bus, *, epoch: int = 1) -> Generation:
    """An answer that has just begun."""
    row = StoredMessage(
        id=2,
        conversation_id=1,
        request_id="r1",
        role=Role.ASSISTANT,
        status=MessageStatus.STREAMING,
        content="",
        created_at=datetime.now(UTC),
        epoch=epoch,
    )
    return Generation(row, bus, Lease(60))


class Heard:
    """What the asker is sent."""

    def __init__(self) -> None:
        self.pieces: list[ChatStreaming] = []

    def __call__(self, _: str, message: bytes) -> None:
        for frame in frames.separated(message):
            if frames.frame_type(frame) == "chat:streaming":
                self.pieces.append(msgspec.json.decode(frames.data_of(frame), type=ChatStreaming))

    @property
    def text(self) -> str:
        return "".join(piece.chunk for piece in self.pieces)


async def test_an_answer_is_as_long_as_its_text_however_many_pieces_it_has(bus: Bus) -> None:
    """What is around each piece does not count. It did: an answer of some 4,500 tokens was cut."""
    generation = running(bus)
    for _ in range(20_000):
        generation.add("tok ", "")
    assert (generation.full, generation.text) == (False, "tok " * 20_000)
    for _ in range(1 + MAX_ANSWER_BYTES // 6000):
        generation.add("token " * 1000, "")
    assert (generation.full, len(generation.text) <= MAX_ANSWER_BYTES) == (True, True)


@pytest.mark.parametrize("letter", ["a", "é", "\x00"])
async def test_an_answer_that_is_too_large_for_the_bus_is_cut_where_it_still_fits(bus: Bus, letter: str) -> None:
    """Its text and its thinking, twice, as JSON, where a control character takes six bytes; and not long before."""
    generation = running(bus)
    await generation.attach(Asker(REPLY, 1))
    generation.add(letter * 20_000, letter * 20_000)
    assert (generation.full, generation.text) == (False, letter * 20_000)
    generation.add(letter * MAX_ANSWER_BYTES, letter * MAX_ANSWER_BYTES)
    size = len(msgspec.json.encode([generation.text, generation.reasoning]))
    assert (generation.full, MAX_ANSWER_BYTES * 0.99 < size < MAX_ANSWER_BYTES + 16) == (True, True)
    ended = msgspec.structs.replace(generation.row, content=generation.text, reasoning=generation.reasoning)
    await generation.end(ended)
    command = GenerationCommand("resume", Asker(REPLY, 2), Position())
    assert await generation.command("", msgspec.json.encode(command))


async def test_pieces_that_cannot_be_sent_are_kept_and_sent_as_one(bus: Bus, nats: Server) -> None:
    """The first piece of a later attempt still says that it begins again."""
    heard = Heard()
    async with listening(bus, REPLY, heard):
        first, second = running(bus), running(bus, epoch=2)
        for generation in (first, second):
            await generation.attach(Asker(REPLY, generation.row.epoch))
        first.add("one ", "")
        await until(lambda: heard.text == "one ")
        nats.kill()
        await until(lambda: not bus.connected)
        second.begin()
        for generation in (first, second):
            generation.add("two ", "")
            generation.add("three ", "")
        nats.start()
        await until(lambda: bus.connected)
        for generation in (first, second):
            generation.add("four", "")
        await until(lambda: heard.text == "one two three fourtwo three four")
    assert [(piece.epoch, piece.from_seq, piece.seq, piece.reset) for piece in heard.pieces] == [
        (1, None, 1, False),
        (1, 2, 4, False),
        (2, None, 4, True),
    ]


async def test_who_comes_in_while_pieces_are_kept_sees_each_once(bus: Bus, nats: Server) -> None:
    """The next piece begins for everybody behind the last one that was shown."""
    heard, other = Heard(), Heard()
    async with listening(bus, REPLY, heard), listening(bus, f"{REPLY}2", other):
        generation = running(bus)
        await generation.attach(Asker(REPLY, 1))
        generation.add("one ", "")
        await until(lambda: heard.text == "one ")
        nats.freeze()
        while bus.send("test.v1.nobody", bytes(64 * 1024)):  # noqa: ASYNC110 (so that the loop writes)
            await asyncio.sleep(0)
        generation.add("two ", "")
        generation.add("three ", "")
        attach = msgspec.json.encode(GenerationCommand("attach", Asker(f"{REPLY}2", 1)))
        attaching = asyncio.create_task(generation.command("", attach))
        await asyncio.sleep(0)
        nats.thaw()
        await asyncio.wait_for(attaching, 10)
        await until(lambda: bus.send("test.v1.nobody", b""))
        generation.add("four", "")
        await until(lambda: heard.text.endswith("four") and other.text.endswith("four"))
    assert [(piece.chunk, piece.seq) for piece in heard.pieces] == [("one ", 1), ("two three ", 3), ("four", 4)]
    assert [(piece.chunk, piece.seq) for piece in other.pieces] == [("one two three ", 3), ("four", 4)]


async def test_the_end_brings_what_could_not_be_sent(bus: Bus, nats: Server) -> None:
    """Before it, so that nobody sees the end of half an answer."""
    heard = Heard()
    async with listening(bus, REPLY, heard):
        generation = running(bus)
        await generation.attach(Asker(REPLY, 1))
        nats.freeze()
        while bus.send("test.v1.nobody", bytes(64 * 1024)):  # noqa: ASYNC110 (so that the loop writes)
            await asyncio.sleep(0)
        generation.add("one ", "")
        generation.add("two", "")
        ending = asyncio.create_task(generation.end(generation.row))
        await asyncio.sleep(0)
        nats.thaw()
        await asyncio.wait_for(ending, 10)
        await until(lambda: bool(heard.pieces) and heard.pieces[-1].done)
    assert [(piece.chunk, piece.seq) for piece in heard.pieces] == [("one two", 2), ("", 3)]
