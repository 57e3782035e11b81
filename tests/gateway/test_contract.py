"""The gateway tells what it speaks."""

import asyncio
import json

from tests.processes import ROOT, ServiceProcess


async def test_the_gateway_serves_the_published_document(shared_gateway: ServiceProcess) -> None:
    """`/asyncapi.json`: the same as in docs/contract."""
    answer = await asyncio.to_thread(shared_gateway.get, "/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    published = (ROOT / "docs" / "contract" / "asyncapi.json").read_text(encoding="utf-8")
    assert answer.json() == json.loads(published)
