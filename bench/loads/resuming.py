"""`chat:resume` on a new connection in the middle of an answer: how soon the first missing text is there."""

import asyncio
import time

import msgspec

from bench.answers import QUESTION
from bench.marks import Marks
from bench.peers.system import System
from bench.readings import Reading, Result, percentile
from bench.websocket import connected

MODEL = "paced-3000-50"
WAIT_SECONDS = 20.0
APART_SECONDS = 0.02
# Until it has ended, which nothing here depends on.
CANCEL_SECONDS = 0.5

_STREAMING = b'{"type":"chat:streaming"'
_ERROR = b'{"type":"error"'


class _Frames:
    """Waits for the first frame of a connection that begins like this and holds a token."""

    def __init__(self) -> None:
        self._found: asyncio.Future[tuple[bytes, int]] = asyncio.get_running_loop().create_future()

    def hear(self, text: bytes, now: int) -> None:
        if self._found.done():
            return
        if text.startswith(_ERROR):
            self._found.set_exception(RuntimeError(text.decode()))
        elif text.startswith(_STREAMING) and Marks().read(text, now):
            self._found.set_result((text, now))

    async def first(self) -> tuple[bytes, int]:
        """The frame and when it came. Raises `TimeoutError`, and `RuntimeError` for an error frame."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._found


async def run(load: str, system: System, *, times: int, until: asyncio.Task[Result] | None = None) -> Result:
    """Resumes one running answer again and again; with `until`, for as long as that runs."""
    port = system.gateways[0]
    heard = _Frames()
    asking = await connected(port, "/ws", heard.hear)
    asking.send_frame("chat:send", {"message": QUESTION, "model": MODEL}, "1")
    first, came = await heard.first()
    data = msgspec.json.decode(first)["data"]
    seen = Marks()
    seen.read(first, came)
    await asyncio.sleep(1)  # The model has gone on: there is something to be missed.
    wanted = {"messageId": data["messageId"], "epoch": data["epoch"], "seq": data["seq"]}
    late: list[float] = []
    faults: list[str] = []
    try:
        while len(late) < times and (until is None or not until.done()):
            late.append(await _resumed(port, wanted, next_token=seen.indices[-1] + 1))
            await asyncio.sleep(APART_SECONDS)
    except (RuntimeError, TimeoutError) as error:
        faults.append(f"{system.name}, {load}: {str(error) or 'nothing came'}")
    finally:
        asking.send_frame("chat:cancel", {"messageId": data["messageId"]}, "2")
        await asyncio.sleep(CANCEL_SECONDS)
        asking.drop()
    if not late:
        return Result([], [*faults, f"{system.name}, {load}: nothing was measured"])
    readings = [
        Reading(load, "first missing text ms p50", system.name, percentile(late, 0.5)),
        Reading(load, "first missing text ms p99", system.name, percentile(late, 0.99)),
        Reading(load, "times", system.name, len(late)),
    ]
    return Result(readings, faults)


async def _resumed(port: int, wanted: dict[str, int], *, next_token: int) -> float:
    """From the request to the first missing text, in milliseconds."""
    heard = _Frames()
    socket = await connected(port, "/ws", heard.hear)
    try:
        began = time.monotonic_ns()
        socket.send_frame("chat:resume", wanted, "r")
        text, came = await heard.first()
    finally:
        socket.drop()
    marks = Marks()
    marks.read(text, came)
    if marks.indices[0] != next_token:
        raise RuntimeError(f"resumed with token {marks.indices[0]} instead of {next_token}")
    return (came - began) / 1e6
