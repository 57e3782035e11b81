"""The table of all frames: it names what the gateway takes and what the services send, no more and no less."""

import ast
import re

from libs.contract import close_codes, errors, protocol
from libs.contract.close_codes import CloseCode
from libs.contract.errors import ErrorCode
from libs.contract.protocol import CLIENT_FRAMES, SERVER_FRAMES
from services.gateway.routes import ROUTES
from tests.architecture import source

FRAME_TYPE = re.compile(r"[a-z]+:[a-z]+")
# What services answer each other in the same form; it never reaches a client.
ON_THE_BUS_ALONE = {"task:changes"}


def test_the_gateway_takes_exactly_the_requests_of_the_table() -> None:
    """With the same data. `ping` needs no route: the gateway answers it itself."""
    routed = {name: route.decoder.type for name, route in ROUTES.items()}
    assert routed == {name: frame.data for name, frame in CLIENT_FRAMES.items() if name != "ping"}


def test_services_name_only_frames_of_the_table_and_all_of_them() -> None:
    """Whatever looks like the type of a frame in their code is one."""
    named = {text for module in source.modules("services") for text in _texts(source.tree(module))}
    known = {*CLIENT_FRAMES, *SERVER_FRAMES, *ON_THE_BUS_ALONE}
    assert {text for text in named if FRAME_TYPE.fullmatch(text)} - known == set()
    # Errors are made by `encode_error` alone.
    assert set(SERVER_FRAMES) - named - {"error"} == set()


def _texts(parsed: ast.Module) -> set[str]:
    return {node.value for node in ast.walk(parsed) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_frame_of_the_server_has_its_place() -> None:
    """It answers a request, follows one, or belongs to the connection itself."""
    follows = {name for frame in CLIENT_FRAMES.values() for name in frame.then}
    assert {*protocol.ANSWERS, *follows, "session:ready", "session:draining"} == set(SERVER_FRAMES)


def test_every_code_says_what_it_means() -> None:
    """Errors and reasons for closing."""
    assert list(errors.MEANINGS) == list(ErrorCode)
    assert list(close_codes.MEANINGS) == list(CloseCode)
