"""What is left out on purpose, because it is known to do harm, stays left out."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture import source

# Of nats-py 2.16, each reproduced; see libs/bus/connection.py for what is done instead.
OF_NATS = {
    "flush": "its PING overtakes what was published; and should it time out, a late PONG ends the read loop",
    "rtt": "as flush",
    "drain": "what arrives between its PING and its UNSUB is lost",
    "respond": "echoes all headers of the request, its Nats-Msg-Id too",
    "next_msg": "a task for each message, and one that is cancelled may lose one",
    "messages": "as next_msg: an `async for` over a subscription",
    "ordered_consumer": "begins at the first message of the stream when it is lost early",
    "pull_subscribe": "creates a consumer where none was provisioned",
    "key_value": "watches by an ordered consumer",
    "create_key_value": "as key_value",
    "object_store": "as key_value",
    "publish_async": "an acknowledgement that never comes is waited for for ever",
    "old_style": "a subscription for each request",
}
# Ages of what another machine has stamped; dates that people read.
SHOWS_A_CLOCK = {"libs/bus/last_values.py"}


def attributes(module: Path) -> Iterator[tuple[str, str]]:
    """Every `value.name` in a module, as `("value", "name")`, and every `name=` of a call."""
    for node in ast.walk(source.tree(module)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield "", node.arg


def test_no_call_of_the_bus_client_that_is_known_to_do_harm() -> None:
    """Their work-rounds stand in libs.bus, and nothing else knows NATS."""
    used = {
        f"{module}: {name} ({OF_NATS[name]})"
        for module in source.modules("libs/bus")
        for _, name in attributes(module)
        if name in OF_NATS
    }
    assert used == set()


def test_no_deadline_stands_on_a_clock_that_may_be_set() -> None:
    """A clock that jumps ends no wait and prolongs none: every wait is by the monotonic clock or the event loop's."""
    used = {
        str(module)
        for module in source.modules("libs", "services")
        if ("time", "time") in set(attributes(module)) or "time.time" in source.imports(module)
    }
    assert used == SHOWS_A_CLOCK
