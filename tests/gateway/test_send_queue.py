"""What waits for a client that reads slowly: pieces of one answer become one, and nothing is lost or overtaken."""

import random
from time import process_time

import msgspec

from libs.contract import frames
from libs.contract.chat import ChatStreaming
from services.gateway.places import place_of
from services.gateway.send_queue import PRESSED_FRAMES, SendQueue
from tests.clients import check_frame
from tests.gateway.played_answers import end, piece

OTHER = frames.encode("pong")
MIB = 1024**2


def put(queue: SendQueue, told: ChatStreaming, frame_id: str | None = None) -> None:
    frame = frames.encode("chat:streaming", told, frame_id=frame_id)
    queue.put(frame, place=place_of(frame))


def never(_frame: bytes) -> bool:
    """A socket whose client reads nothing at the moment."""
    return False


def pressed() -> SendQueue:
    """A queue in which enough waits already."""
    queue = SendQueue(MIB, write=never)
    for _ in range(PRESSED_FRAMES + 1):
        queue.put(OTHER)
    return queue


async def taken(queue: SendQueue) -> list[ChatStreaming]:
    """The pieces that the client gets at last; nothing waits then."""
    told = []
    while queue.waiting_bytes:
        frame = queue.get()
        queue.sent()
        check_frame(frame)
        if place_of(frame) is not None:
            told.append(msgspec.json.decode(frames.data_of(frame), type=ChatStreaming))
    await queue.emptied()
    return told


def ranges(told: list[ChatStreaming]) -> list[tuple[int, int]]:
    return [(data.from_seq or data.seq, data.seq) for data in told]


async def test_pieces_that_wait_behind_each_other_become_one() -> None:
    """The text of all, the first and the last `seq`; the end stays a frame of its own."""
    queue = pressed()
    for told in (piece(1), piece(2), piece(5, first=3), piece(6), end(7)):
        put(queue, told)
    got = await taken(queue)
    assert ranges(got) == [(1, 6), (7, 7)]
    assert (got[0].chunk, got[0].request_id) == ("1 2 3 4 5 6 ", "r-1")


async def test_a_client_that_reads_gets_every_piece_as_it_came() -> None:
    """Without pressure nothing is joined."""
    queue = SendQueue(MIB, write=never)
    for seq in range(1, 20):
        put(queue, piece(seq))
    assert ranges(await taken(queue)) == [(seq, seq) for seq in range(1, 20)]


async def test_a_reset_is_not_joined_to_what_is_to_be_forgotten() -> None:
    """What follows it may join it: its text is all there is."""
    queue = pressed()
    for told in (piece(1), piece(2), piece(1, "", epoch=2, reset=True), piece(2, epoch=2), piece(3, epoch=2)):
        put(queue, told)
    got = await taken(queue)
    assert [(data.epoch, data.from_seq, data.seq, data.reset, data.chunk) for data in got] == [
        (1, 1, 2, False, "1 2 "),
        (2, None, 3, True, "2 3 "),
    ]


async def test_the_end_and_the_stored_message_are_not_overtaken() -> None:
    """Also not by an answer that is told once more."""
    queue = pressed()
    for told in (piece(1), end(2), piece(1, "1 ", reset=True), end(2)):
        put(queue, told)
    assert [(data.done, data.reset) for data in await taken(queue)] == [
        (False, False),
        (True, False),
        (False, True),
        (True, False),
    ]


async def test_what_was_given_to_the_socket_does_not_change_any_more() -> None:
    """A piece that is being sent is joined by nothing."""
    queue = pressed()
    put(queue, piece(1))
    for _ in range(PRESSED_FRAMES + 1):
        queue.get()
        queue.sent()
    for _ in range(PRESSED_FRAMES + 1):
        queue.put(OTHER)
    sending = queue.get()
    put(queue, piece(2))
    assert queue.get() == sending
    queue.sent()
    assert ranges(await taken(queue)) == [(2, 2)]


async def test_answers_under_different_ids_are_joined_apart() -> None:
    """Each keeps its own order, whatever the others do, and its own `id`."""
    dice = random.Random(20261122)  # noqa: S311 (repeatable, guards nothing)
    queue, sent = pressed(), {"a": 0, "b": 0, 'c"\\': 0}
    for _ in range(3000):
        name = dice.choice(list(sent))
        sent[name] += 1
        put(queue, msgspec.structs.replace(piece(sent[name]), reasoning="é"), name)
    texts = dict.fromkeys(sent, "")
    frames_sent = 0
    while queue.waiting_bytes:
        frame = msgspec.json.decode(queue.get())
        queue.sent()
        if frame["type"] == "chat:streaming":
            frames_sent += 1
            texts[frame["id"]] += frame["data"]["chunk"]
            assert len(frame["data"]["reasoning"]) == frame["data"]["seq"] - frame["data"].get("fromSeq", 1) + 1
    assert texts == {name: "".join(f"{seq} " for seq in range(1, count + 1)) for name, count in sent.items()}
    assert frames_sent == len(sent)


async def test_joining_costs_the_same_for_every_piece() -> None:
    """40,000 pieces, over and over: far from quadratic, and bytes are counted exactly."""
    queue = pressed()
    started = process_time()
    for seq in range(1, 40_001):
        put(queue, piece(seq, "\n"))
    (told,) = await taken(queue)
    assert process_time() - started < 4
    assert told.chunk == "\n" * 40_000
    assert queue.waiting_bytes == 0


async def test_a_text_that_is_too_long_overflows_all_the_same() -> None:
    """The bound holds for joined pieces too."""
    queue = pressed()
    for seq in range(1, 101):
        put(queue, piece(seq, "x" * 20_000))
    assert queue.overflowed
    assert MIB - 25_000 < queue.waiting_bytes <= MIB


async def test_a_frame_goes_to_the_socket_at_once_while_nothing_waits() -> None:
    """What the socket does not take waits, and what comes after it does not overtake it."""
    written: list[bytes] = []
    takes = True

    def write(frame: bytes) -> bool:
        if takes:
            written.append(frame)
        return takes

    queue = SendQueue(MIB, write=write)
    queue.put(b"1")
    takes = False
    queue.put(b"2")
    takes = True
    queue.put(b"3")
    assert (written, queue.waiting_bytes) == ([b"1"], 2)
    assert [await taken_one(queue), await taken_one(queue)] == [b"2", b"3"]
    queue.put(b"4")
    assert written == [b"1", b"4"]


async def test_nothing_is_written_after_what_did_not_fit() -> None:
    """Otherwise a client that is being sent away would see a gap."""
    written: list[bytes] = []
    takes = False

    def write(frame: bytes) -> bool:
        if takes:
            written.append(frame)
        return takes

    queue = SendQueue(2, write=write)
    for frame in (b"12", b"3"):
        queue.put(frame)
    assert queue.overflowed
    assert await taken_one(queue) == b"12"
    takes = True
    queue.put(b"4")
    assert (written, queue.waiting_bytes) == ([], 0)


async def taken_one(queue: SendQueue) -> bytes:
    frame = queue.get()
    queue.sent()
    return frame
