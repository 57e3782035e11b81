"""Pings: punctual whatever else keeps the gateway busy, because who hears none for a while takes it for dead."""

import asyncio
import socket
import time
from contextlib import suppress
from itertools import pairwise

import pytest

from libs.runtime import serving
from libs.runtime.process import Process
from services.gateway.main import gateway
from services.gateway.settings import Settings
from tests.brokers import Server, free_port
from tests.clients import CheckedSocket, open_socket
from tests.waiting import until, until_answer

PING_SECONDS = 0.6
BUSY_SECONDS = 0.3
PINGS = 5


async def times_of_pings(url: str) -> list[float]:
    """Of one connection, which has to stay open."""
    async with open_socket(url) as socket_:
        assert isinstance(socket_, CheckedSocket)
        await until(lambda: len(socket_.pinged_at) == PINGS)
        await socket_.send('{"type":"ping"}')
        while '"pong"' not in await asyncio.wait_for(socket_.recv(), 5):
            pass
        return list(socket_.pinged_at)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def test_pings_are_punctual_although_the_event_loop_stands_still_again_and_again(
    nats: Server, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 ms each time, as a collection of garbage or a swapped-out page may take: never two intervals without one."""
    monkeypatch.setattr(serving, "WEBSOCKET_PING_SECONDS", PING_SECONDS)
    port, process = free_port(), Process()
    settings = Settings.model_validate({"port": port, "NATS_URL": nats.url, "VALKEY_URL": valkey.url})
    running = asyncio.create_task(gateway(settings, process))
    await until_answer(lambda: asyncio.to_thread(listens, port))
    # On an event loop of its own: this one is the gateway's, and stands still.
    hearing = asyncio.create_task(asyncio.to_thread(asyncio.run, times_of_pings(f"ws://127.0.0.1:{port}/ws")))
    while not hearing.done():
        time.sleep(BUSY_SECONDS)  # noqa: ASYNC251 (what is tested)
        await asyncio.sleep(0.02)
    process.stop_requested.set()
    await asyncio.wait_for(running, 10)
    gaps = [later - earlier for earlier, later in pairwise(hearing.result())]
    assert max(gaps) < 2 * PING_SECONDS
