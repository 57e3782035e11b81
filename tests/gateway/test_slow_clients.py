"""Clients that do not read, and peers that have gone without a word: what they cost, and when they are forgotten."""

import asyncio
import ctypes
import signal
import socket
import struct
import sys
from contextlib import AsyncExitStack, suppress
from time import monotonic

import msgspec
import psutil
import pytest
from redis.asyncio import Redis
from uvicorn.server import ServerState
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from libs.bus.connection import Bus
from libs.client.connection import Answer
from libs.contract import frames
from libs.contract.frames import Limits
from services.gateway import metrics
from services.gateway.connection import CLOSE_SECONDS, Gateway
from services.gateway.connections import Connections
from services.gateway.heartbeats import Heartbeats
from services.gateway.rate_limits import RateLimits
from services.gateway.repairs import Repairs
from services.gateway.requests import Requests
from services.gateway.sockets import Socket
from services.gateway.topics import Topics
from tests.clients import open_client, open_socket
from tests.gateway.played import reply_subject, task_state
from tests.gateway.played_answers import STORED, end, piece, played_answer
from tests.processes import ServiceProcess
from tests.waiting import until, until_answer

MIB = 1024**2
FILLING = frames.encode("task:update", task_state(1, 1, "x" * 50_000))
STALLED = 20


async def test_who_reads_again_is_told_that_it_was_too_slow(bus: Bus, gateway: ServiceProcess) -> None:
    """4102, behind all that was on its way; meanwhile nothing waits for it any more."""
    async with open_socket(gateway.ws, max_queue=1) as slow:
        await slow.recv()
        reply = await reply_subject(bus, slow)
        slow.transport.pause_reading()
        while not await asyncio.to_thread(gateway.metric, "gateway_connections_closed_total"):
            for _ in range(20):
                await bus.publish(reply, FILLING)
        await until_answer(lambda: asyncio.to_thread(lambda: gateway.metric("gateway_send_queue_bytes") == 0))
        # Longer than any other goodbye may take.
        await asyncio.sleep(CLOSE_SECONDS + 0.2)
        slow.transport.resume_reading()
        async with asyncio.timeout(20):
            with suppress(ConnectionClosed):
                while True:
                    await slow.recv()
    assert slow.close_code == 4102


async def test_who_pings_and_does_not_read_costs_nothing(gateway: ServiceProcess) -> None:
    """The answers to 40 MB of pings do not wait for it anywhere. It is still there when it reads again."""
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
    async with open_socket(gateway.ws) as rude, open_socket(gateway.ws) as other:
        await rude.recv()
        await other.recv()
        process = psutil.Process(gateway.process.pid)
        before = process.memory_info().rss
        rude.transport.pause_reading()
        for _ in range(300):
            rude.transport.write(ping * 1000)
            await (await other.ping())
        assert process.memory_info().rss - before < 4 * MIB
        rude.transport.resume_reading()
        await rude.send('{"type":"ping"}')
        assert await asyncio.wait_for(rude.recv(), 10) == '{"type":"pong"}'


async def test_who_stops_reading_costs_two_mebibytes_at_most_and_nobody_elses_frames(
    bus: Bus, gateway: ServiceProcess
) -> None:
    """Twenty of them, each just before it is sent away; another client has each of its frames before the next one."""
    process = psutil.Process(gateway.process.pid)
    async with AsyncExitStack() as opened, open_socket(gateway.ws) as other:
        slow = [await opened.enter_async_context(open_socket(gateway.ws, max_queue=1)) for _ in range(STALLED)]
        await other.recv()
        others = await reply_subject(bus, other)
        await other.recv()
        replies = []
        for one in slow:
            await one.recv()
            replies.append(await reply_subject(bus, one))
            one.transport.pause_reading()
        before, waiting, number = process.memory_info().rss, 0.0, 0
        while waiting < 0.7 * STALLED * MIB:
            number += 1
            for reply in replies:
                await bus.publish(reply, FILLING)
            await bus.publish(others, frames.encode("task:update", task_state(1, number)))
            assert f'"revision":{number}}}' in await asyncio.wait_for(other.recv(), 10)
            waiting = await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes")
        assert await asyncio.to_thread(gateway.metric, "gateway_connections_closed_total") == 0
        grown = (process.memory_info().rss - before) / STALLED
        for one in slow:
            one.transport.abort()
    print(f"{grown / MIB:.2f} MiB a client, of which {waiting / STALLED / MIB:.2f} wait; {number} frames passed")  # noqa: T201
    assert grown < 2 * MIB
    await until_answer(lambda: asyncio.to_thread(lambda: gateway.metric("gateway_connections") == 0))
    assert await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes") == 0


@pytest.mark.thorough
async def test_who_does_not_read_does_not_hold_up_the_end_of_a_gateway(bus: Bus, gateway: ServiceProcess) -> None:
    """uvicorn alone would wait for it for ever; who reads has its goodbye at once."""
    async with open_socket(gateway.ws, max_queue=1) as slow, open_socket(gateway.ws) as other:
        await slow.recv()
        await other.recv()
        reply = await reply_subject(bus, slow)
        slow.transport.pause_reading()
        while not await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes"):
            await bus.publish(reply, FILLING)
        asked_at = monotonic()
        gateway.signal(signal.SIGTERM)
        with suppress(ConnectionClosed):
            while True:
                await other.recv()
        assert other.close_code == 4200
        assert monotonic() - asked_at < 3
        assert await asyncio.to_thread(gateway.wait) == 0
        print(f"ended after {monotonic() - asked_at:.1f} s")  # noqa: T201
        slow.transport.abort()


def hear_nothing_more(peer: socket.socket) -> None:
    """As if its cable had been cut: the system drops what comes for this socket, and so acknowledges nothing.

    A filter that lets nothing pass (https://www.kernel.org/doc/html/latest/networking/filter.html).
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    so_attach_filter = 26
    peer.setsockopt(socket.SOL_SOCKET, so_attach_filter, struct.pack("HP", 1, ctypes.addressof(program)))


@pytest.mark.thorough
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="socket filters and TCP_USER_TIMEOUT are Linux's")
async def test_a_peer_that_has_gone_without_a_word_is_forgotten_within_a_minute(
    bus: Bus, gateway: ServiceProcess
) -> None:
    """Cut off while nothing was said; cut off in the middle of an answer; there, and not reading at all."""
    async with open_client(gateway.ws):
        pass
    await until_answer(lambda: asyncio.to_thread(lambda: gateway.metric("gateway_connections") == 0))
    tasks = await asyncio.to_thread(gateway.metric, "event_loop_tasks")
    async with AsyncExitStack() as opened:
        peers = [await opened.enter_async_context(open_socket(gateway.ws, max_queue=1)) for _ in range(4)]
        for peer in peers:
            # Before it says goodbye, which would take its time.
            opened.callback(peer.transport.abort)
        idle, listening, deaf, stuffed = peers
        replies = []
        for peer in peers:
            await peer.recv()
            replies.append(await reply_subject(bus, peer))
        gone_at = monotonic()
        for peer in (idle, listening):
            hear_nothing_more(peer.transport.get_extra_info("socket"))
        for peer in (deaf, stuffed):
            peer.transport.pause_reading()
        await bus.publish(replies[1], FILLING)
        # One at a time: it is not to be sent away for being slow.
        while not await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes"):
            await bus.publish(replies[3], FILLING)
        left = 4.0
        while left:
            now = await asyncio.to_thread(gateway.metric, "gateway_connections")
            if now < left:
                print(f"{left - now:g} forgotten after {monotonic() - gone_at:.1f} s")  # noqa: T201
            left = now
            assert monotonic() - gone_at < 60
            await asyncio.sleep(0.1)
    assert await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes") == 0
    await until_answer(lambda: asyncio.to_thread(lambda: gateway.metric("event_loop_tasks") <= tasks))


async def test_a_client_that_reads_slowly_gets_all_the_text_in_fewer_pieces(bus: Bus, gateway: ServiceProcess) -> None:
    """And is sent away only when too much waits; then it goes on where it was, on another connection."""
    async with played_answer(bus) as answer, open_socket(gateway.ws, max_queue=1) as slow:
        await slow.recv()
        await slow.send('{"type":"chat:resume","data":{"messageId":8}}')
        await until(lambda: answer.asked)
        slow.transport.pause_reading()
        # The kernel takes some megabytes before anything waits in the gateway.
        while not (filled := await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes")):
            for _ in range(4):
                await bus.publish(answer.reply, FILLING)
        for seq in range(1, 5001):
            await answer.say(piece(seq))
            if seq % 500 == 0:
                await bus.ping()
        await until_answer(lambda: asyncio.to_thread(lambda: all_taken(gateway)))
        # One by one they would be 600 KB; some of the filling may have come after the look.
        assert await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes") < filled + 300_000
        slow.transport.resume_reading()
        seen, pieces = Answer(), 0
        while seen.seq < 5000:
            frame = msgspec.json.decode(await asyncio.wait_for(slow.recv(), 10))
            if frame["type"] == "chat:streaming":
                seen.take(frame)
                pieces += 1
        assert seen.text == piece(5000, first=1).chunk
        # Some still went into the kernel one by one: 231 on a busy machine.
        assert pieces < 500
        slow.transport.pause_reading()
        while not await asyncio.to_thread(gateway.metric, "gateway_connections_closed_total"):
            for _ in range(20):
                await bus.publish(answer.reply, FILLING)
        slow.transport.abort()
        async with open_client(gateway.ws) as back:
            answer.missing = [piece(6000, first=5001), end(6001), frames.encode("chat:message", STORED, frame_id="1")]
            told = [frame async for frame in back.resume(8, seen.epoch, seen.seq, text=seen.text, timeout=5)]
            for frame in told:
                seen.take(frame)
    assert seen.text == piece(6000, first=1).chunk


def all_taken(gateway: ServiceProcess) -> bool:
    """Every piece that was said has been given to the connection."""
    return gateway.metric('gateway_frames_out_total{type="chat:streaming"}') >= 5000


async def test_who_sends_thousands_of_frames_at_once_lets_the_others_pass(shared_bus: Bus) -> None:
    """Between a few of its frames the event loop has its turn, however little each of them is."""
    limits = Limits(max_frame_bytes=65536, requests_per_minute=60, burst=5, subscriptions=1)
    # Nobody listens there: pings are not counted.
    rates = RateLimits(Redis(port=1), requests_per_minute=60, burst=5)
    requests = Requests(shared_bus, rates, max_frame_bytes=65536)
    connections = Connections(Gateway("g", requests, Topics(shared_bus), Repairs(shared_bus), limits, MIB))
    server = await asyncio.get_running_loop().create_server(
        lambda: Socket(connections, Heartbeats(), server_state=ServerState()), "127.0.0.1"
    )
    ping = Frame(Opcode.TEXT, frames.encode("ping")).serialize(mask=True)
    async with open_socket(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", max_queue=None) as rude:
        await rude.recv()
        answered = start = metrics.FRAMES_OUT["pong"]
        most = 0
        rude.transport.write(ping * 4000)
        async with asyncio.timeout(20):
            while answered < start + 4000:
                await asyncio.sleep(0)
                most = max(most, metrics.FRAMES_OUT["pong"] - answered)
                answered = metrics.FRAMES_OUT["pong"]
    await until(lambda: not connections.count())
    server.close()
    print(f"{most} frames in one turn of the event loop at most")  # noqa: T201
    assert most <= 32
