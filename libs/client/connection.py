"""One WebSocket to a gateway, as any client would hold it: requests by id, answers sorted back to whoever asked.

ask / chat ── frame with id ──▶ gateway ── frames with that id ──▶ _read ──▶ the asker's own queue
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
Check = Callable[[str | bytes], None]

# Far above what one test or trial lets pile up; a client that forgets to read should notice.
MAX_UNREAD_FRAMES = 50_000
MAX_FRAME_BYTES = 8 * 1024**2
# What had arrived before the connection was closed is read to its end.
READ_OUT_SECONDS = 1.0


class ClientError(Exception):
    """The server sent an `error` frame, or nothing in time."""

    def __init__(self, message: str, frame: Frame | None = None) -> None:
        super().__init__(message)
        self.frame = frame or {}

    @property
    def code(self) -> str | None:
        """The code of the server's error; None when it is not the server's."""
        code = self.frame.get("data", {}).get("code")
        return str(code) if code is not None else None


class Answer:
    """What a client makes of the frames of one answer."""

    def __init__(self) -> None:
        self.text = ""
        self.done: Frame | None = None
        """The data of the `done` frame."""
        self.message: Frame | None = None
        """The data of the stored assistant message."""

    @property
    def over(self) -> bool:
        """No frame follows. An answer that failed has one more, the `error` frame, which is raised, not taken."""
        if self.done is None or self.done["status"] == "error":
            return False
        return self.message is not None or (not self.text and self.done["status"] != "complete")

    def take(self, frame: Frame) -> None:
        data = frame["data"]
        if frame["type"] == "chat:streaming":
            self.text = data["chunk"] if data.get("reset") else self.text + data["chunk"]
            if data["done"]:
                self.done = data
        elif frame["type"] == "chat:message" and data["role"] == "assistant":
            self.message = data


class Client:
    """An open connection. Made by `open_client`."""

    def __init__(self, socket: ClientConnection, check: Check | None = None) -> None:
        self.ready: Frame = {}
        """The data of the server's first frame, `session:ready`."""
        self.pushed: asyncio.Queue[Frame] = asyncio.Queue(MAX_UNREAD_FRAMES)
        """Frames that answer no request of this client."""
        self._socket = socket
        self._check = check
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Queue[Frame]] = {}

    async def send(self, frame: Frame) -> None:
        await self._socket.send(json.dumps(frame, ensure_ascii=False))

    async def send_raw(self, frame: str | bytes) -> None:
        """Sends what no well-behaved client would."""
        await self._socket.send(frame)

    async def ask(self, frame_type: str, data: Frame | None = None, *, timeout: float = 10) -> Frame:
        """Sends a request and returns its one answer. Raises `ClientError`."""
        async with self._conversation(frame_type, data) as answers:
            return await _next(answers, timeout)

    async def chat(self, message: str, *, timeout: float = 120, **data: Any) -> AsyncIterator[Frame]:
        """Sends `chat:send` and yields the frames of its answer, to the last one. `timeout`: seconds between two.

        The keywords are the other fields of `chat:send`. A failed answer raises `ClientError` after its last frame.
        """
        answer = Answer()
        async with self._conversation("chat:send", {"message": message, **data}) as answers:
            while not answer.over:
                frame = await _next(answers, timeout)
                answer.take(frame)
                yield frame

    async def close(self) -> None:
        await self._socket.close()

    @contextlib.asynccontextmanager
    async def _conversation(self, frame_type: str, data: Frame | None) -> AsyncIterator[asyncio.Queue[Frame]]:
        frame_id = str(next(self._ids))
        answers = self._waiting[frame_id] = asyncio.Queue(MAX_UNREAD_FRAMES)
        try:
            await self.send({"type": frame_type, "id": frame_id, "data": data or {}})
            yield answers
        finally:
            del self._waiting[frame_id]

    async def _read(self) -> None:
        try:
            with contextlib.suppress(ConnectionClosed):
                async for text in self._socket:
                    if self._check is not None:
                        self._check(text)
                    frame = json.loads(text)
                    self._waiting.get(frame.get("id", ""), self.pushed).put_nowait(frame)
        finally:
            self._tell_everybody_that_it_is_closed()

    def _tell_everybody_that_it_is_closed(self) -> None:
        closed = {"type": "closed", "data": {"code": self._socket.close_code, "message": "The connection was closed."}}
        for queue in (*self._waiting.values(), self.pushed):
            queue.put_nowait(closed)


@contextlib.asynccontextmanager
async def open_client(url: str, *, check: Check | None = None, timeout: float = 10) -> AsyncIterator[Client]:
    """Connects, and has seen `session:ready` when the block begins. Raises `OSError` or `ClientError`.

    `check` is given every frame that arrives, also one that nobody asks for. When it raises, nothing more is read, who
    waits gets a `ClientError`, and the block ends with what it raised.
    """
    async with connect(
        url, open_timeout=timeout, ping_interval=None, max_size=MAX_FRAME_BYTES, compression=None, proxy=None
    ) as socket:
        client = Client(socket, check)
        reading = asyncio.create_task(client._read(), name=f"read {url}")  # noqa: SLF001 (the two belong together)
        try:
            ready = await _next(client.pushed, timeout)
            client.ready = ready["data"]
            yield client
        finally:
            await client.close()
            await asyncio.wait({reading}, timeout=READ_OUT_SECONDS)
            reading.cancel()
            (failure,) = await asyncio.gather(reading, return_exceptions=True)
            if isinstance(failure, Exception):
                raise failure


async def _next(answers: asyncio.Queue[Frame], timeout: float) -> Frame:
    try:
        frame = await asyncio.wait_for(answers.get(), timeout)
    except TimeoutError as error:
        raise ClientError(f"nothing came within {timeout:g} s") from error
    if frame["type"] in ("error", "closed"):
        raise ClientError(frame["data"]["message"], frame)
    return frame
