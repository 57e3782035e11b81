"""Which model server is chosen, tried with servers that answer as LM Studio and others do."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from libs.local_stack import lm_studio_probe, ports
from libs.local_stack.lm_studio_probe import ModelChoice
from libs.local_stack.start_error import StartError

MODELS = (200, {"object": "list", "data": [{"id": "some-model"}]})
UNEXPECTED = (200, {"error": "Unexpected endpoint or method. (GET /models)"})
Answer = tuple[int, object]


@contextlib.contextmanager
def server(answers: dict[str, Answer], *, otherwise: Answer = UNEXPECTED) -> Iterator[str]:
    """The address of an HTTP server with these answers by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, otherwise)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


async def test_a_server_that_answers_is_used() -> None:
    """As LM_STUDIO_URL says."""
    with server({"/v1/models": MODELS}) as address:
        choice = await lm_studio_probe.choose({"LM_STUDIO_URL": f"{address}/v1/"}, builtin=False)
    assert choice == ModelChoice(f"{address}/v1", f"A model server answers at {address}/v1.")


async def test_a_forgotten_v1_is_added_and_said() -> None:
    """LM Studio answers 200 on a wrong path, so only the list of models tells."""
    with server({"/v1/models": MODELS}) as address:
        choice = await lm_studio_probe.choose({"LM_STUDIO_URL": address}, builtin=False)
    assert choice.url == f"{address}/v1"
    assert "lacked the /v1" in choice.why


@pytest.mark.parametrize(
    "url", ["localhost:1234", "ftp://localhost/v1", "http://", "http://localhost:port/v1", "nonsense"]
)
async def test_what_is_no_address_is_refused_in_one_sentence(url: str) -> None:
    """With an example of one, and the way out."""
    with pytest.raises(StartError, match=r"is not an address like http://localhost:1234/v1: .*--builtin-model\.$"):
        await lm_studio_probe.choose({"LM_STUDIO_URL": url}, builtin=False)


async def test_a_server_that_is_away_is_refused_when_it_was_asked_for() -> None:
    """Chats answered by another model than the chosen one would be a surprise."""
    url = f"http://127.0.0.1:{ports.free_ports(1)[0]}/v1"
    with pytest.raises(StartError, match=r"is not answering: .*--builtin-model\.$"):
        await lm_studio_probe.choose({"LM_STUDIO_URL": url}, builtin=False)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (UNEXPECTED, "is not an OpenAI-compatible server"),
        ((404, {"detail": "Not Found"}), "is not an OpenAI-compatible server"),
        ((200, "hello"), "is not an OpenAI-compatible server"),
        ((401, {"error": {"message": "no key"}}), "wants a (different) LM_STUDIO_API_KEY"),
    ],
)
async def test_another_kind_of_server_is_refused(answer: Answer, reason: str) -> None:
    """With what is wrong about it."""
    with server({}, otherwise=answer) as address, pytest.raises(StartError) as refusal:
        await lm_studio_probe.choose({"LM_STUDIO_URL": f"{address}/v1"}, builtin=False)
    assert reason in str(refusal.value)


async def test_lm_studio_at_its_usual_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting."""
    with server({"/v1/models": MODELS}) as address:
        monkeypatch.setattr(lm_studio_probe, "DEFAULT_URL", f"{address}/v1")
        choice = await lm_studio_probe.choose({}, builtin=False)
    assert choice == ModelChoice(f"{address}/v1", f"LM Studio answers at {address}/v1.")


async def test_without_lm_studio_the_built_in_model_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left without an answer."""
    url = f"http://127.0.0.1:{ports.free_ports(1)[0]}/v1"
    monkeypatch.setattr(lm_studio_probe, "DEFAULT_URL", url)
    choice = await lm_studio_probe.choose({"LM_STUDIO_URL": ""}, builtin=False)
    assert choice == ModelChoice(None, f"{url} is not answering, so the built-in SmolLM2 runs.")


async def test_the_built_in_model_can_be_asked_for() -> None:
    """Whatever LM_STUDIO_URL says."""
    choice = await lm_studio_probe.choose({"LM_STUDIO_URL": "nonsense"}, builtin=True)
    assert choice.url is None


async def test_a_server_that_drips_is_given_up_in_time() -> None:
    """A byte now and then would hold up the start for ever."""

    left = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as dripping:
        port = dripping.sockets[0].getsockname()[1]
        with pytest.raises(lm_studio_probe.NotAModelServerError, match=r"within 0.3 s"):
            await asyncio.wait_for(lm_studio_probe.check(f"http://127.0.0.1:{port}/v1", "", 0.3), 3)
        await asyncio.wait_for(left.wait(), 3)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"LM_STUDIO_URL": "http://me:secret@127.0.0.1:1/v1"}, "LM_STUDIO_URL holds a user or a password"),
        ({"LM_STUDIO_URL": "http://127.0.0.1:1/v1", "LM_STUDIO_API_KEY": "ключ"}, "LM_STUDIO_API_KEY holds characters"),
    ],
)
async def test_a_secret_in_the_wrong_place_is_refused_without_showing_it(env: dict[str, str], says: str) -> None:
    """One sentence that says where it belongs."""
    with pytest.raises(StartError, match=says) as caught:
        await lm_studio_probe.choose(env, builtin=False)
    assert "secret" not in str(caught.value)
