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
    """What a client makes of the frames of one answer, and the position up to which it has them."""

    def __init__(self) -> None:
        self.text = ""
        self.message_id: int | None = None
        self.epoch = 1
        self.seq = 0
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
        """One more frame. Raises `ClientError` if there should have been another one before it."""
        data = frame["data"]
        if frame["type"] == "chat:streaming":
            self._take_piece(data)
        elif frame["type"] == "chat:message" and data["role"] == "assistant":
            self.message = data

    def _take_piece(self, data: Frame) -> None:
        epoch: int = data["epoch"]
        first: int = data["fromSeq"] if "fromSeq" in data else data["seq"]
        if epoch < self.epoch or (epoch == self.epoch and first <= self.seq and not data.get("reset")):
            return  # seen before, or of a worker that has lost the answer
        if data.get("reset"):
            self.text = ""
        elif (epoch, first) != (self.epoch, self.seq + 1):
            raise ClientError(f"frame ({epoch}, {first}) came after ({self.epoch}, {self.seq})", {"data": data})
        self.text += data["chunk"]
        self.message_id, self.epoch, self.seq = data["messageId"], epoch, data["seq"]
        if data["done"]:
            self.done = data


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
        self._closed: Frame | None = None

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
        async for frame in self._answer("chat:send", {"message": message, **data}, Answer(), timeout):
            yield frame

    async def resume(
        self, message_id: int, epoch: int = 0, seq: int = 0, *, text: str = "", timeout: float = 120
    ) -> AsyncIterator[Frame]:
        """Sends `chat:resume` and yields the frames from `chat:resumed` to the last one. `text`: what was seen so far.

        Raises as `chat` does.
        """
        answer = Answer()
        answer.text, answer.epoch, answer.seq = text, max(epoch, 1), seq
        asked = {"messageId": message_id, "epoch": epoch, "seq": seq}
        async for frame in self._answer("chat:resume", asked, answer, timeout):
            yield frame

    async def _answer(self, frame_type: str, data: Frame, answer: Answer, timeout: float) -> AsyncIterator[Frame]:
        async with self._conversation(frame_type, data) as answers:
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
        if self._closed is not None:
            # Nothing is read any more; whoever asks now is not to wait for it.
            answers.put_nowait(self._closed)
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
        told = {"code": self._socket.close_code, "message": "The connection was closed."}
        self._closed = {"type": "closed", "data": told}
        for queue in (*self._waiting.values(), self.pushed):
            queue.put_nowait(self._closed)


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
