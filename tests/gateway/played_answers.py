"""A worker with one answer, played by the test: it says what it is told to, and counts who asks for what was missed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from libs.bus.connection import Bus
from libs.client.connection import Client, Frame
from libs.contract import frames, streams, subjects
from libs.contract.chat import ChatMessage, ChatResume, ChatStreaming, MessageStatus, Role
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest, FrameId
from libs.contract.generations import Resumed
from tests.on_the_bus import serving

MESSAGE_ID = 8
STORED = ChatMessage(
    id=MESSAGE_ID,
    role=Role.ASSISTANT,
    content="",
    timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    conversation_id=1,
    request_id="r-1",
    status=MessageStatus.COMPLETE,
)


def piece(
    seq: int, chunk: str | None = None, *, epoch: int = 1, first: int | None = None, reset: bool = False
) -> ChatStreaming:
    """One piece; its text says which."""
    text = "".join(f"{number} " for number in range(first or seq, seq + 1)) if chunk is None else chunk
    return ChatStreaming(
        conversation_id=1,
        message_id=MESSAGE_ID,
        epoch=epoch,
        seq=seq,
        from_seq=first,
        chunk=text,
        done=False,
        reset=reset,
        request_id="r-1" if reset or seq == 1 else None,
    )


def end(seq: int, *, epoch: int = 1) -> ChatStreaming:
    """The `done` frame."""
    return ChatStreaming(
        conversation_id=1,
        message_id=MESSAGE_ID,
        epoch=epoch,
        seq=seq,
        chunk="",
        done=True,
        request_id="r-1",
        status=MessageStatus.COMPLETE,
    )


class PlayedAnswer:
    """For one connection. `running`: what a question for it is answered; None: there is no such answer."""

    def __init__(self, bus: Bus) -> None:
        self.reply = ""
        self.frame_id: FrameId | None = None
        self.running: bool | None = True
        self.status = MessageStatus.STREAMING
        self.refusal: RequestError | None = None
        """Of all that is asked."""
        self.missing: list[ChatStreaming | bytes] = []
        """Sent to whoever asks, as one message."""
        self.asked: list[tuple[str, ChatResume]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self._bus = bus

    async def say(self, *told: ChatStreaming | bytes) -> None:
        """These frames, as one message."""
        await self._bus.publish(self.reply, frames.joined([self.frame(one) for one in told]))

    def frame(self, told: ChatStreaming | bytes) -> bytes:
        return told if isinstance(told, bytes) else frames.encode("chat:streaming", told, frame_id=self.frame_id)

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """Serves `chat.v1.query.*`."""
        request = msgspec.json.decode(payload, type=ClientRequest)
        self.reply, self.frame_id = request.reply, request.frame_id
        asked = msgspec.json.decode(request.data, type=ChatResume)
        self.asked.append((subjects.last_token(subject), asked))
        await self.answering.wait()
        if self.refusal is not None:
            return frames.encode_error(self.refusal, frame_id=request.frame_id)
        if self.running is None:
            error = RequestError(ErrorCode.NOT_FOUND, "There is no such answer.")
            return frames.encode_error(error, frame_id=request.frame_id)
        if self.missing:
            await self.say(*self.missing)
        return msgspec.json.encode(Resumed(MESSAGE_ID, "r-1", 1, self.status, self.running))


@asynccontextmanager
async def played_answer(bus: Bus) -> AsyncIterator[PlayedAnswer]:
    played = PlayedAnswer(bus)
    async with serving(bus, subjects.CHAT_QUERY_ALL, played.answer):
        yield played


async def accepted(bus: Bus, client: Client, played: PlayedAnswer) -> None:
    """The client has asked for the answer, and the worker has taken the request from the stream."""
    await client.send({"type": "chat:send", "id": "a", "data": {"message": "Olá", "requestId": "r-1"}})
    pull = await bus.jetstream().pull_subscribe_bind(stream=streams.CHAT.name, durable=streams.CHAT.consumer)
    (item,) = await pull.fetch(1, timeout=5)
    request = msgspec.json.decode(item.data, type=ClientRequest)
    played.reply, played.frame_id = request.reply, request.frame_id
    await item.ack()


async def shown(client: Client, count: int) -> list[Frame]:
    """The data of the next frames."""
    return [(await asyncio.wait_for(client.pushed.get(), 10))["data"] for _ in range(count)]


async def nothing_more(client: Client) -> None:
    """All that was on its way has arrived, and none of it was shown."""
    await client.ask("ping")
    assert client.pushed.empty()


def places(told: list[Frame]) -> list[tuple[int, int, int]]:
    return [(data["epoch"], data["fromSeq"] if "fromSeq" in data else data["seq"], data["seq"]) for data in told]
