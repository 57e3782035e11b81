"""The simplest answer in Python: FastAPI takes the WebSocket, httpx asks the model. No bus, no database, no promise.

client ══ chat:send ══▶ /ws ── POST, SSE ──▶ model server
client ◀═ chat:streaming, one frame a token ══╯
"""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect


def create_app(model_url: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=model_url, timeout=120, limits=limits, trust_env=False) as http:
            app.state.http = http
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    @app.websocket("/ws")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        messages: list[dict[str, str]] = []
        try:
            while True:
                asked = (await socket.receive_json())["data"]
                messages.append({"role": "user", "content": asked["message"]})
                answer = ""
                async for text in _tokens(app.state.http, asked["model"], messages):
                    answer += text
                    await socket.send_json({"type": "chat:streaming", "data": {"chunk": text, "done": False}}, "text")
                await socket.send_text('{"type":"chat:streaming","data":{"chunk":"","done":true}}')
                messages.append({"role": "assistant", "content": answer})
        except WebSocketDisconnect:
            return

    return app


async def _tokens(http: httpx.AsyncClient, model: str, messages: list[dict[str, Any]]) -> AsyncIterator[str]:
    asked = {"model": model, "stream": True, "messages": messages}
    async with http.stream("POST", "/v1/chat/completions", json=asked) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    chosen = parser.parse_args()
    uvicorn.run(create_app(chosen.model), host="127.0.0.1", port=chosen.port, log_level="warning")
