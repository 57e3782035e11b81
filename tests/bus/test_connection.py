"""The connection to NATS: what it promises when NATS answers, and above all when it does not."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from libs.bus.addresses import without_password
from libs.bus.connection import Bus, BusUnavailable, ConnectionLost, NobodyListens, connect
from libs.contract.errors import ErrorCode, RequestError
from tests.brokers import Server, answers, nats_server
from tests.waiting import until, until_answer


async def test_a_request_is_answered_by_whoever_serves_the_subject(bus: Bus) -> None:
    """Request and reply."""

    async def answer(subject: str, payload: bytes) -> bytes:
        return subject.encode() + b" " + payload

    async with bus.serving("test.v1.echo.*", answer):
        assert await bus.request("test.v1.echo.one", b"hello", timeout=2) == b"test.v1.echo.one hello"


async def test_a_request_that_nobody_serves_fails_at_once(bus: Bus) -> None:
    """NATS says so itself, long before the deadline."""
    started = monotonic()
    with pytest.raises(NobodyListens) as caught:
        await bus.request("test.v1.nobody", b"", timeout=10)
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert monotonic() - started < 5


async def test_a_request_that_is_not_answered_ends_at_its_deadline(bus: Bus) -> None:
    """No infinite wait."""
    never = asyncio.Event()

    async def silence(_: str, __: bytes) -> bytes:
        await never.wait()
        return b""

    async with bus.serving("test.v1.silence", silence):
        with pytest.raises(RequestError) as caught:
            await bus.request("test.v1.silence", b"", timeout=0.1)
        never.set()
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE


async def test_a_handler_that_raises_does_not_end_the_connection(bus: Bus) -> None:
    """nats-py's read loop ends silently when an exception leaves a callback."""
    heard: list[bytes] = []

    def handler(_: str, payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("a defect")
        heard.append(payload)

    async with bus.listening("test.v1.listen", handler):
        for payload in (b"one", b"bad", b"two"):
            await bus.publish("test.v1.listen", payload)
        await until(lambda: len(heard) == 2)
    assert heard == [b"one", b"two"]


async def test_leaving_a_subscription_loses_no_request_that_it_was_given(bus: Bus, nats: Server) -> None:
    """Subscription.drain of nats-py drops what arrives between its PING and its UNSUB; ours must not."""
    taken = 0

    async def answer(_: str, payload: bytes) -> bytes:
        nonlocal taken
        taken += 1
        return payload

    def in_full_swing(number: int) -> bool:
        return taken > 400 * number

    async def ask_until_refused(asker: Bus) -> None:
        # Refused because nobody listens any more is honest; lost without an answer is not, and raises here.
        with suppress(NobodyListens):
            while True:
                await asker.request("test.v1.rolling", b"", timeout=5)

    async with connect(nats.url, name="asker") as asker:
        # The moment in which one would be lost is short.
        for number in range(1, 61):
            async with bus.serving("test.v1.rolling", answer, queue="workers"):
                await bus.ping()
                asking = [asyncio.create_task(ask_until_refused(asker)) for _ in range(200)]
                await until(partial(in_full_swing, number))
            await asyncio.gather(*asking)


async def test_the_bus_says_at_once_that_nats_is_away_and_works_again_when_it_is_back(bus: Bus, nats: Server) -> None:
    """A server that is killed and started again: refused at once in between, then everything as before."""
    heard: list[bytes] = []
    async with bus.listening("test.v1.back", lambda _, payload: heard.append(payload)):
        nats.kill()
        await until(lambda: not bus.connected)
        started = monotonic()
        with pytest.raises(BusUnavailable):
            await bus.request("test.v1.back", b"", timeout=10)
        with pytest.raises(BusUnavailable):
            await bus.ping()
        assert monotonic() - started < 1
        nats.start()
        await until(lambda: bus.connected)
        await bus.publish("test.v1.back", b"hello")
        await until(lambda: heard == [b"hello"])
    await bus.ping()
    assert bus.reconnects == 1


async def test_a_request_whose_answer_may_be_lost_with_the_connection_fails_at_once(bus: Bus, nats: Server) -> None:
    """It had waited for its deadline of 10 s, long after NATS was back."""
    asked, never = asyncio.Event(), asyncio.Event()

    async def silence(_: str, __: bytes) -> bytes:
        asked.set()
        await never.wait()
        return b""

    async with bus.serving("test.v1.silence", silence):
        asking = asyncio.create_task(bus.request("test.v1.silence", b"", timeout=60))
        await asked.wait()
        nats.kill()
        with pytest.raises(BusUnavailable):
            await asyncio.wait_for(asking, 5)
        nats.start()
        await until_answer(lambda: answers(bus))
        never.set()


async def test_leaving_a_subscription_of_a_frozen_nats_harms_nothing(bus: Bus, nats: Server) -> None:
    """A flush that times out would leave its late PONG to end nats-py's read loop, and with it the process."""
    losing = asyncio.create_task(bus.until_lost())
    started = monotonic()
    async with bus.listening("test.v1.frozen", lambda _, __: None):
        nats.freeze()
    assert monotonic() - started < 5
    nats.thaw()
    await until_answer(lambda: answers(bus))
    # The watchdog looks once a second.
    assert await asyncio.wait([losing], timeout=1.5) == (set(), {losing})
    losing.cancel()


async def test_a_message_too_large_for_nats_is_refused_before_it_is_sent(bus: Bus) -> None:
    """Sent, it would make the server hang up for ever."""
    with pytest.raises(RequestError) as caught:
        await bus.publish("test.v1.large", b"x" * 2_000_000)
    assert caught.value.code is ErrorCode.TOO_LARGE
    await bus.ping()


async def test_connecting_gives_up_with_a_sentence_when_nats_does_not_answer(tmp_path: Path) -> None:
    """Left to itself, nats-py would try for ever."""
    server = nats_server(tmp_path)
    with pytest.raises(BusUnavailable, match=r"NATS does not answer at nats://127.0.0.1:"):
        async with connect(server.url, name="test", startup_seconds=0.5):
            pass


async def test_a_connection_that_is_closed_for_good_says_so(bus: Bus) -> None:
    """What `until_lost` waits for: the process has to end then."""
    losing = asyncio.create_task(bus.until_lost())
    await bus._client.close()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(losing, 2)


def test_addresses_are_shown_without_passwords() -> None:
    """Logs and error messages may be read by anybody."""
    assert without_password("nats://me:secret@a:4222,nats://b:4223") == "nats://a:4222,nats://b:4223"
