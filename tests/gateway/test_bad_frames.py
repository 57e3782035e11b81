"""Whatever a client sends, it gets an error frame and keeps its connection."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.client.connection import Client, ClientError
from services.gateway.routes import ROUTES
from tests.clients import open_socket
from tests.processes import ServiceProcess
from tests.waiting import until_answer

FRAMES = 10_000
BATCH = 50

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
not_objects = json_values.filter(lambda value: not isinstance(value, dict)).map(json.dumps)
not_json = st.text(max_size=20).filter(lambda text: not _is_json(text))
binary = st.binary(max_size=20)
unknown_types = st.builds(
    lambda name, data: json.dumps({"type": name, "data": data}),
    st.text(max_size=20).filter(lambda name: name not in ROUTES and name != "ping"),
    json_values,
)
# A list is never the data of a request, and these fields have other types.
wrong_data = st.builds(
    lambda name, data: json.dumps({"type": name, "data": data}),
    st.sampled_from(sorted(ROUTES)),
    st.lists(json_values, max_size=3),
)
wrong_fields = st.builds(
    lambda field: json.dumps({"type": "chat:send", "data": {"message": "hello"} | {field[0]: field[1]}}),
    st.one_of(
        st.tuples(st.just("message"), st.sampled_from([[], True, -1, "", None, {}])),
        st.tuples(st.just("conversationId"), st.sampled_from([[], True, -1, 0, 1.5, "1", 2**70])),
        st.tuples(st.just("requestId"), st.sampled_from([[], 5, "", "a b", "a.b", "*", "x" * 65])),
        st.tuples(st.just("model"), st.sampled_from([[], 5, "", "x" * 201])),
        st.tuples(st.just("options"), st.sampled_from([[], 5, "", {"temperature": 3}, {"maxTokens": 0}])),
    ),
)
wrong_envelopes = st.sampled_from(
    [
        '{"type":5}',
        '{"id":"a"}',
        '{"type":"ping","id":[5]}',
        '{"type":null}',
        "{}",
        '{"type":"chat:history","data":' + "[" * 5000 + "]" * 5000 + "}",
        '{"type":"chat:send","data":{"message":"\\ud800"}}',
        '{"type":"' + "x" * 70_000 + '"}',
        '{"type":"ping","id":"' + "x" * 200 + '"}',
    ]
)
bad_frames = st.one_of(not_objects, not_json, binary, unknown_types, wrong_data, wrong_fields, wrong_envelopes)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.thorough
@pytest.mark.timeout(180)
def test_ten_thousand_random_bad_frames_close_nothing_and_leave_no_task(shared_gateway: ServiceProcess) -> None:
    """Each one gets exactly one error frame, on one and the same connection."""
    before = shared_gateway.metric("event_loop_tasks")
    closed_before = shared_gateway.metric("gateway_connections_closed_total")
    with asyncio.Runner() as runner:
        socket = runner.run(_connected(shared_gateway))

        @settings(max_examples=FRAMES // BATCH, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(bad_frames, min_size=BATCH, max_size=BATCH))
        def send(batch: list[str | bytes]) -> None:
            for frame, answer in zip(batch, runner.run(_answers(socket, batch)), strict=True):
                assert answer["type"] == "error", (frame, answer)
                assert answer["data"]["code"] in ("invalid_frame", "unknown_type", "too_large"), (frame, answer)
                assert answer["data"]["retryable"] is False

        send()
        assert runner.run(_answers(socket, ['{"type":"ping"}'])) == [{"type": "pong"}]
        runner.run(socket.close())
        runner.run(until_answer(lambda: asyncio.to_thread(lambda: shared_gateway.metric("event_loop_tasks") <= before)))
    assert shared_gateway.metric("gateway_errors_out") >= FRAMES
    assert shared_gateway.metric("gateway_connections_closed_total") == closed_before


async def _connected(shared_gateway: ServiceProcess) -> Any:
    socket = await open_socket(shared_gateway.ws)
    await socket.recv()
    return socket


async def _answers(socket: Any, batch: list[str | bytes]) -> list[Any]:
    for frame in batch:
        await socket.send(frame)
    return [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in batch]


@pytest.mark.parametrize(
    ("frame", "code", "says"),
    [
        ("no json", "invalid_frame", "A frame is a JSON object"),
        ("[1]", "invalid_frame", "Expected `object`, got `array`"),
        (b"\x00\x01", "invalid_frame", "Binary frames are not understood"),
        ('{"type":"chat:sing"}', "unknown_type", "knows no 'chat:sing'"),
        ('{"type":"ping","data":"' + "x" * 66_000 + '"}', "too_large", "takes 65536 at most"),
        ('{"type":"ping","data":' + "[" * 30_000 + "]" * 30_000 + "}", "invalid_frame", "nested too deeply"),
        (
            '{"type":"chat:send","data":{"message":5}}',
            "invalid_frame",
            "chat:send: Expected `str`, got `int` - at",
        ),
        ('{"type":"chat:send"}', "invalid_frame", "missing required field `message`"),
        ('{"type":"chat:send","data":{"message":""}}', "invalid_frame", "length >= 1"),
        ('{"type":"chat:history","data":{"limit":0}}', "invalid_frame", ">= 1"),
    ],
)
async def test_an_error_says_what_is_wrong(visitor: Client, frame: str | bytes, code: str, says: str) -> None:
    """For people, and with a code for programs."""
    await visitor.send_raw(frame)
    error = await visitor.pushed.get()
    assert (error["type"], error["data"]["code"]) == ("error", code)
    assert says in error["data"]["message"]


async def test_an_error_carries_the_id_and_the_request_id_of_its_request(visitor: Client) -> None:
    """So that a client knows which of its requests failed."""
    with pytest.raises(ClientError) as caught:
        await visitor.ask("chat:send", {"message": 5})
    assert caught.value.frame["id"] == "1"
