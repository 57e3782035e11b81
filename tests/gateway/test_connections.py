"""A client's connection: what it is told, how its frames are carried, and how it ends."""

import asyncio
import json
import signal
from datetime import UTC, datetime
from time import perf_counter

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from libs.bus.connection import Bus
from libs.bus.work_queue import WorkItem, WorkQueue
from libs.client.connection import Client, ClientError
from libs.contract import frames, streams, subjects
from libs.contract.chat import ChatMessage, MessageStatus, Role
from libs.contract.frames import ClientRequest
from libs.contract.monitoring import Hosts
from tests.brokers import Server, answers
from tests.clients import open_client, open_socket
from tests.gateway.played import reply_subject
from tests.on_the_bus import serving
from tests.processes import ServiceProcess
from tests.waiting import until_answer

STORED = ChatMessage(
    id=1,
    role=Role.USER,
    content="Olá! 👋",
    timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    conversation_id=7,
    request_id="abc",
    status=MessageStatus.COMPLETE,
)


async def test_the_first_frame_tells_who_the_client_is_and_what_it_may_do(visitor: Client) -> None:
    """`session:ready`."""
    assert len(visitor.ready["connectionId"]) == 32
    assert visitor.ready | {"connectionId": ""} == {
        "connectionId": "",
        "user": "local",
        "limits": {"maxFrameBytes": 65536, "requestsPerMinute": 600000, "burst": 100000, "subscriptions": 128},
        "heartbeatSeconds": 20.0,
        "version": 1,
    }


async def test_ping_is_answered_by_the_gateway_itself_with_the_id_echoed(visitor: Client) -> None:
    """Exactly the frame that existing clients know."""
    await visitor.send({"type": "ping"})
    assert await visitor.pushed.get() == {"type": "pong"}
    assert await visitor.ask("ping") == {"type": "pong", "id": "1"}


async def test_replies_are_forwarded_byte_for_byte(shared_bus: Bus, shared_gateway: ServiceProcess) -> None:
    """The gateway does not decode what a worker has finished."""
    odd = (
        '{"type":"chat:streaming","data":  {"done":false ,"chunk":"Olá 👋🏽 \\u00e1","seq":1,"epoch":1,'
        '"messageId":2,"conversationId":1, "ttftMs":1.50}  }'
    ).encode()

    async def answer(_: str, payload: bytes) -> bytes:
        await shared_bus.publish(msgspec.json.decode(payload, type=ClientRequest).reply, odd)
        return odd

    async with serving(shared_bus, subjects.chat_query("history"), answer), open_socket(shared_gateway.ws) as socket_:
        await socket_.recv()
        await socket_.send('{"type":"chat:history"}')
        assert [await socket_.recv(), await socket_.recv()] == [odd.decode()] * 2


async def test_a_stored_request_reaches_the_queue_with_all_that_a_worker_needs(chat_bus: Bus, visitor: Client) -> None:
    """Who asks, where to answer, and the data as the client sent it."""
    taken: list[ClientRequest] = []

    async def take(item: WorkItem) -> None:
        request = msgspec.json.decode(item.payload, type=ClientRequest)
        taken.append(request)
        await chat_bus.publish(request.reply, frames.encode("chat:message", STORED, frame_id=request.frame_id))
        await item.done()

    queue = WorkQueue(chat_bus, streams.CHAT, take, slots=1)
    running = asyncio.create_task(queue.run())
    data = {"message": "Olá! 👋", "conversationId": 7, "requestId": "abc", "more": [1]}
    await visitor.send({"type": "chat:send", "id": "mine", "data": data})
    assert await visitor.pushed.get() == {"type": "chat:message", "id": "mine", "data": msgspec.to_builtins(STORED)}
    queue.stop()
    await running
    (request,) = taken
    assert (request.request_id, request.user, request.frame_id) == ("abc", "local", "mine")
    assert json.loads(bytes(request.data)) == data


async def test_a_question_that_no_service_answers_is_an_error_at_once(visitor: Client) -> None:
    """`service_unavailable`, and retryable."""
    with pytest.raises(ClientError) as caught:
        await visitor.ask("chat:history", timeout=5)
    assert caught.value.code == "service_unavailable"
    assert caught.value.frame["data"]["retryable"] is True


async def test_a_slow_answer_does_not_hold_up_the_frames_behind_it(shared_bus: Bus, visitor: Client) -> None:
    """A ping passes a question that is being answered; too many questions at once are refused."""
    finish = asyncio.Event()

    async def answer(_: str, payload: bytes) -> bytes:
        await finish.wait()
        asked = msgspec.json.decode(payload, type=ClientRequest)
        return frames.encode("monitoring:hosts", Hosts([]), frame_id=asked.frame_id)

    async with serving(shared_bus, subjects.monitoring_query("hosts"), answer):
        questions = [asyncio.create_task(visitor.ask("monitoring:hosts")) for _ in range(17)]
        await visitor.ask("ping")
        with pytest.raises(ClientError) as caught:
            await questions[16]
        assert caught.value.code == "busy"
        finish.set()
        answers = await asyncio.gather(*questions[:16])
    assert {answer["type"] for answer in answers} == {"monitoring:hosts"}


async def test_while_nats_is_away_sockets_stay_and_requests_fail_at_once(
    client: Client, nats: Server, bus: Bus, gateway: ServiceProcess
) -> None:
    """`bus_unavailable`, readiness off and saying why; all is well within 5 s of its return, nothing half accepted."""
    nats.kill()
    await until_answer(lambda: asyncio.to_thread(lambda: not gateway.is_ready()))
    assert (await asyncio.to_thread(gateway.readiness))["failing"] == ["nats"]
    for frame_type, data in (("chat:send", {"message": "hello"}), ("chat:history", {})):
        with pytest.raises(ClientError) as caught:
            await client.ask(frame_type, data, timeout=2)
        assert caught.value.code == "bus_unavailable"
        assert caught.value.frame["data"]["retryable"] is True
    await client.ask("ping")
    nats.start()
    back_at = perf_counter()
    await until_answer(lambda: asyncio.to_thread(gateway.is_ready))
    await client.send({"type": "chat:send", "data": {"message": "hello"}})
    await client.ask("ping")
    assert perf_counter() - back_at < 5
    assert client.pushed.empty()
    await until_answer(lambda: answers(bus))
    assert (await bus.jetstream().stream_info(streams.CHAT.name)).state.messages == 1
    assert await asyncio.to_thread(gateway.metric, "gateway_bus_reconnects") == 1


async def test_losing_valkey_changes_nothing_but_a_note_in_readiness(
    client: Client, valkey: Server, gateway: ServiceProcess
) -> None:
    """It is shared, expendable state: limits become local."""
    valkey.kill()
    with pytest.raises(ClientError, match="No service answers"):
        await client.ask("chat:history")
    readiness = await asyncio.to_thread(gateway.readiness)
    assert readiness["ready"] is True
    assert readiness["optional"]["valkey"] != "ok"


async def test_a_client_that_does_not_read_is_sent_away_and_delays_nobody(bus: Bus, gateway: ServiceProcess) -> None:
    """Past its queue's bound: closed with 4102; another client's pings go on."""
    async with open_socket(gateway.ws, max_queue=1) as slow, open_client(gateway.ws) as other:
        await slow.recv()
        reply = await reply_subject(bus, slow)
        slow.transport.pause_reading()
        frame = frames.encode("chat:streaming", {"chunk": "x" * 50_000, "done": False})
        slowest = 0.0
        # The kernel takes some megabytes before anything waits in the gateway.
        for _ in range(100):
            for _ in range(10):
                await bus.publish(reply, frame)
            started = perf_counter()
            await other.ask("ping", timeout=5)
            slowest = max(slowest, perf_counter() - started)
            if await asyncio.to_thread(gateway.metric, "gateway_connections_closed_total"):
                break
        assert await asyncio.to_thread(gateway.metric, "gateway_connections_closed_total") == 1
        assert await asyncio.to_thread(gateway.metric, "gateway_send_queue_bytes") < 1.2 * 1024**2
        assert slowest < 1
        slow.transport.abort()


async def test_churn_leaves_nothing_behind(shared_gateway: ServiceProcess) -> None:
    """After 200 connections that came and went in every way, all gauges are as before."""

    async def come_and_go(number: int) -> None:
        async with open_client(shared_gateway.ws) as visitor:
            await visitor.send({"type": "chat:history"})
            await visitor.send_raw("nonsense")
            if number % 2:
                visitor._socket.transport.abort()

    before = await asyncio.to_thread(shared_gateway.metric, "event_loop_tasks")
    for start in range(0, 200, 20):
        await asyncio.gather(*(come_and_go(number) for number in range(start, start + 20)))

    def settled() -> bool:
        gauges = ("gateway_connections", "gateway_send_queue_bytes", "gateway_client_tasks")
        return (
            all(shared_gateway.metric(name) == 0 for name in gauges)
            and shared_gateway.metric("event_loop_tasks") <= before
        )

    await until_answer(lambda: asyncio.to_thread(settled))


async def test_a_gateway_that_stops_sends_its_clients_away_in_order_and_exits_cleanly(gateway: ServiceProcess) -> None:
    """`session:draining`, then 4200 within the window; nobody listens any more; exit code 0."""
    async with open_socket(gateway.ws) as one, open_socket(gateway.ws) as other:
        for socket_ in (one, other):
            await socket_.recv()
        gateway.signal(signal.SIGTERM)
        for socket_ in (one, other):
            assert json.loads(await socket_.recv()) == {
                "type": "session:draining",
                "data": {"reconnectWithinMs": 500},
            }
            with pytest.raises(ConnectionClosed) as closed:
                await socket_.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4200
    assert await asyncio.to_thread(gateway.wait) == 0
    with pytest.raises(OSError, match="Connect call failed"):
        async with open_socket(gateway.ws):
            pass


async def told_to_go_elsewhere(gateway: ServiceProcess) -> None:
    """A browser that is refused sees 1006 and no reason; so who comes late is let in, and told."""
    async with open_socket(gateway.ws) as late:
        told = [json.loads(await late.recv())["type"] for _ in range(2)]
        with pytest.raises(ConnectionClosed) as closed:
            await late.recv()
    assert told == ["session:ready", "session:draining"]
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4200


async def test_what_was_asked_is_answered_before_the_goodbye(bus: Bus, gateway: ServiceProcess) -> None:
    """SIGTERM while a service still thinks: first its answer, then 4200."""
    asked, finish = asyncio.Event(), asyncio.Event()

    async def answer(_: str, payload: bytes) -> bytes:
        asked.set()
        await finish.wait()
        request = msgspec.json.decode(payload, type=ClientRequest)
        return frames.encode("monitoring:hosts", Hosts([]), frame_id=request.frame_id)

    async with serving(bus, subjects.monitoring_query("hosts"), answer), open_socket(gateway.ws) as socket_:
        await socket_.recv()
        await socket_.send('{"type":"monitoring:hosts","id":"q"}')
        await asyncio.wait_for(asked.wait(), 5)
        gateway.signal(signal.SIGTERM)
        assert json.loads(await socket_.recv())["type"] == "session:draining"
        await until_answer(lambda: asyncio.to_thread(gateway.metric, "gateway_connections_closed_total"))
        await told_to_go_elsewhere(gateway)
        finish.set()
        assert json.loads(await socket_.recv()) == {"type": "monitoring:hosts", "id": "q", "data": {"hosts": []}}
        with pytest.raises(ConnectionClosed) as closed:
            await socket_.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4200


async def test_who_waits_in_vain_for_an_answer_is_told_goodbye_all_the_same(bus: Bus, gateway: ServiceProcess) -> None:
    """A service that does not answer now is no reason to leave a client without a close code."""
    never = asyncio.Event()

    async def answer(_: str, __: bytes) -> bytes:
        await never.wait()
        return b""

    async with serving(bus, subjects.monitoring_query("hosts"), answer), open_socket(gateway.ws) as socket_:
        await socket_.recv()
        await socket_.send('{"type":"monitoring:hosts","id":"q"}')
        await until_answer(lambda: asyncio.to_thread(gateway.metric, "gateway_client_tasks"))
        gateway.signal(signal.SIGTERM)
        assert json.loads(await socket_.recv())["type"] == "session:draining"
        with pytest.raises(ConnectionClosed):
            await socket_.recv()
        never.set()
    assert socket_.close_code == 4200
    assert await asyncio.to_thread(gateway.wait) == 0
