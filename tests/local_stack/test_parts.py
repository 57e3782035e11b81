"""The embedded broker, cache and model server, as the launcher configures them."""

import asyncio
import os

import httpx
import nats
import pytest
import redis.asyncio

from libs.local_stack import broker, builtin_model, cache, model_weights, ports
from libs.local_stack import supervisor as supervising
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import Program
from libs.local_stack.supervisor import Supervisor
from tests.waiting import until

ENV = dict(os.environ)  # noqa: TID251 (children need PATH and the like)


async def restart(supervisor: Supervisor, program: Program) -> None:
    """Kill it and wait until the supervisor has brought it back."""
    keeper = supervisor._keepers[0]
    assert keeper.process is not None
    old = keeper.process.pid
    keeper.process.kill()
    await until(lambda: keeper.process is not None and keeper.process.pid != old)
    await supervisor.ready(program)


async def test_the_broker_keeps_its_messages_and_its_address_when_it_is_killed(
    supervisor: Supervisor, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services reconnect to the same URL and find what was accepted."""
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    program = broker.program(folder, ports.free_ports(1)[0], ENV)
    supervisor.start(program)
    await supervisor.ready()
    async with await nats.connect(program.url) as client:
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept"])
        await stream.publish("kept", b"word")
    await restart(supervisor, program)
    async with await nats.connect(program.url) as client:
        kept = await client.jetstream().get_msg("KEPT", 1)
    assert kept.data == b"word"


async def test_the_broker_lets_nobody_in_without_its_password(supervisor: Supervisor, folder: DataFolder) -> None:
    """Other users of the same machine cannot read the chats."""
    port = ports.free_ports(1)[0]
    supervisor.start(broker.program(folder, port, ENV))
    await supervisor.ready()
    # By hand: nats-py 2.16 leaves its socket open when the server refuses it.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT {}\r\nPING\r\n")
    greeting, answer = await reader.readline(), await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert (greeting[:4], answer) == (b"INFO", b"-ERR 'Authorization Violation'\r\n")


async def test_the_cache_answers_with_its_password_only(supervisor: Supervisor, folder: DataFolder) -> None:
    """Like the broker."""
    port = ports.free_ports(1)[0]
    program = cache.program(folder, port, ENV)
    supervisor.start(program)
    await supervisor.ready()
    async with redis.asyncio.from_url(program.url) as client:
        assert await client.ping() is True
    async with redis.asyncio.from_url(f"redis://127.0.0.1:{port}") as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()


async def test_the_built_in_model_is_ready_with_4096_tokens_for_each_answer_and_stops_at_once(
    supervisor: Supervisor,
) -> None:
    """Its own list of models tells the context length that the chat worker fits conversations into."""
    program = builtin_model.program(ports.free_ports(1)[0], ENV)
    supervisor.start(program)
    await supervisor.ready()
    async with httpx.AsyncClient(trust_env=False) as client:
        [model] = (await client.get(f"{program.url}/models")).json()["data"]
    assert (model["id"], model["meta"]["n_ctx"]) == (model_weights.NAME, 4096)
    async with asyncio.timeout(1):
        await supervisor.stop()
