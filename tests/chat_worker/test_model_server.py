"""The way to the model server: its last deadline, its certificate, its compression, its key."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from libs.contract.errors import ErrorCode
from services.chat_worker.lm_studio.client import ModelClient
from services.chat_worker.lm_studio.models import ModelCatalog
from services.chat_worker.lm_studio.server import BadModelServerUrl, ModelServer, open_model_server
from tests.chat_worker.raw_servers import sends, served
from tests.scripted_model import wire
from tests.scripted_model.asking import hear, prompt


@pytest.mark.parametrize("more", range(8))
async def test_the_last_deadline_ends_also_what_never_falls_silent(more: int) -> None:
    """Whatever the clock says: uvloop rings a little early, and asks to be asked again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire.bare_head())
        while not writer.is_closing():
            writer.write(wire.event({"choices": [{"delta": {"content": "a"}}]}))
            await writer.drain()
            await asyncio.sleep(0)

    async def one(model_server: ModelServer, total: float) -> str:
        heard = await hear(ModelClient(model_server, total_seconds=total), prompt("echo"))
        assert heard.failure is not None
        return heard.failure.message

    async with served(serve) as port, open_model_server(f"http://127.0.0.1:{port}") as model_server:
        totals = [0.1 + (more * 8 + number) * 0.00037 for number in range(8)]
        for said in await asyncio.gather(*(one(model_server, total) for total in totals)):
            assert "did not finish its answer" in said


async def test_an_answer_that_comes_compressed_is_called_so() -> None:
    """It was asked for as it is."""
    head = wire.head(content_encoding="gzip")
    serve = sends(head + wire.chunk(b"\x1f\x8b") + wire.LAST_CHUNK)
    async with served(serve) as port, open_model_server(f"http://127.0.0.1:{port}") as model_server:
        heard = await hear(ModelClient(model_server), prompt("echo"))
    assert heard.code is ErrorCode.MODEL_ERROR
    assert heard.failure is not None
    assert "compresses" in heard.failure.message


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_model_server_with_a_certificate_is_asked_if_it_is_trusted(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its models, and for an answer; otherwise nothing is said to it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head)
        if head.startswith(b"GET"):
            writer.write(wire.json_body(200, {"data": [{"id": "echo"}]}))
        else:
            said = {"choices": [{"delta": {"content": "Olá"}, "finish_reason": "stop"}]}
            writer.write(wire.bare_head() + wire.event(said) + wire.DONE)

    async with served(serve, context) as port, open_model_server(f"https://localhost:{port}") as model_server:
        answer = await hear(ModelClient(model_server), prompt("echo"))
        if trusted:
            assert answer.text == "Olá"
            assert [model.id for model in (await ModelCatalog(model_server).listing()).models] == ["echo"]
        else:
            assert answer.failure is not None
            assert "certificate" in answer.failure.message
            assert heard == []


async def test_a_key_that_no_header_can_hold_is_refused() -> None:
    """When it is configured, not when a person waits for an answer."""
    with pytest.raises(BadModelServerUrl, match="LM_STUDIO_API_KEY"):
        async with open_model_server("http://127.0.0.1:1", "sk-1\r\nx: y"):
            pass
