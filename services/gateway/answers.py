"""The answers that one connection watches: each of their frames is forwarded once and in order, or asked for again.

                    ┌─ the next one ───────▶ forwarded
bus ── a frame ──▶──┼─ seen, or of an old epoch ─▶ dropped: a worker that lost the answer is never heard
                    └─ one is missing ─────▶ dropped, and `Repairs` asks for all behind the last one shown
"""

import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from libs.contract import frames
from libs.contract.chat import MessageStatus
from libs.contract.errors import ErrorCode, RequestError
from libs.contract.frames import ClientRequest, FrameId
from libs.contract.generations import Resumed
from services.gateway import metrics
from services.gateway.places import Place, request_id_of
from services.gateway.repairs import Repairs, Watched
from services.gateway.requests import Caller, Question, Resume, error_frame

# Of one connection. Answers beyond this are forwarded as they come: clients notice gaps too.
MOST_WATCHED = 256
# Ended answers, whose late frames are dropped.
MOST_REMEMBERED = 256

Key = tuple[int, bytes | None]

_resumed = msgspec.json.Decoder(Resumed)


class Answers:
    """Of one connection. An answer that was asked for twice, under two ids, is watched twice."""

    def __init__(self, caller: Caller, repairs: Repairs, put: Callable[[bytes], None]) -> None:
        self._caller = caller
        self._repairs = repairs
        self._put = put
        # Accepted, and nothing heard of them yet.
        self._expected: dict[tuple[str, bytes | None], Watched] = {}
        # Asked for again by their requests, and not yet shown to their end since.
        self._resuming: set[tuple[str | None, bytes | None]] = set()
        self._unfinished: dict[Key, Watched] = {}
        # The epoch in which they ended; the oldest first.
        self._ended: dict[Key, int] = {}
        self._crowded = False
        """There were too many once, so a frame in the middle of an answer may have had others before it."""

    @property
    def caller(self) -> Caller:
        return self._caller

    def __iter__(self) -> Iterator[Watched]:
        """What is not finished."""
        return iter([*self._unfinished.values(), *self._expected.values()])

    def count(self) -> int:
        return len(self._unfinished) + len(self._expected)

    def leave(self) -> None:
        """The connection has ended."""
        self._repairs.remove(self)
        self._unfinished.clear()
        self._expected.clear()

    # ---- What the client asks for -------------------------------------------------------------------------------

    def expect(self, request: ClientRequest) -> None:
        """An answer will come to this request, also if its first frames are lost. Called before it is stored."""
        if len(self._expected) < MOST_WATCHED:
            frame_id = _as_json(request.frame_id)
            self._expected[request.request_id, frame_id] = Watched(frame_id, request_id=request.request_id)
            self._repairs.add(self)

    def expect_nothing(self, request_id: str) -> None:
        """The request was refused."""
        for key in [key for key in self._expected if key[0] == request_id]:
            del self._expected[key]

    async def resume(self, resume: Resume, ask: Callable[[Question], Awaitable[bytes]]) -> None:
        """Carries out a `chat:resume`. The worker answers the client itself, unless it refuses."""
        asked, frame_id = resume.asked, _as_json(resume.question.request.frame_id)
        watched = Watched(frame_id, message_id=asked.message_id, request_id=asked.request_id)
        watched.epoch, watched.seq = max(asked.epoch, 1), asked.seq if asked.epoch else 0
        watched.asking = True
        known = False
        if asked.message_id is not None:
            key = (asked.message_id, frame_id)
            known = key in self._unfinished
            if len(self._unfinished) >= MOST_WATCHED and not known:
                raise RequestError(ErrorCode.BUSY, f"A connection may watch {MOST_WATCHED} answers at once.")
            self._ended.pop(key, None)
            self._unfinished[key] = watched
            self._repairs.add(self)
        else:
            self._resuming.add((asked.request_id, frame_id))
        try:
            reply = await ask(resume.question)
            watched.asking = False
            if frames.frame_type(reply) == "error":
                # One that came by itself before goes on; only that it cannot be resumed is to be told.
                if not known:
                    self._forget(watched)
                self._put(reply)
            else:
                self.repaired(watched, _resumed.decode(reply))
        finally:
            self._resuming.discard((asked.request_id, frame_id))

    # ---- What the bus brings ------------------------------------------------------------------------------------

    def take(self, place: Place, frame: bytes) -> bool:
        """Whether this piece of an answer is the next one, and so is to be forwarded."""
        key = (place.message_id, place.frame_id)
        watched = self._unfinished.get(key)
        if watched is None:
            ended = self._ended.get(key)
            if ended is not None and (place.epoch < ended or not place.reset or not self._asked_again(key, frame)):
                metrics.PIECES_DROPPED.inc()
                return False
            if self._crowded and place.first > 1 and not place.reset:
                return True
            if len(self._unfinished) >= MOST_WATCHED:
                self._crowded = True
                return True
            watched = self._begin(key, frame)
        if not self._fits(watched, place):
            metrics.PIECES_DROPPED.inc()
            return False
        watched.epoch, watched.seq = place.epoch, place.seq
        watched.heard(time.monotonic())
        if place.done:
            self._resuming.discard((request_id_of(frame), key[1]))
            self._end(key, place.epoch)
        return True

    def _asked_again(self, key: Key, frame: bytes) -> bool:
        """Whether an ended answer is to be shown once more. A repair that the end has overtaken has nothing new."""
        request = (request_id_of(frame), key[1])
        return request in self._expected or request in self._resuming or len(self._expected) >= MOST_WATCHED

    def _begin(self, key: Key, frame: bytes) -> Watched:
        self._ended.pop(key, None)
        request_id = request_id_of(frame)
        if request_id is not None:
            self._expected.pop((request_id, key[1]), None)
        watched = self._unfinished[key] = Watched(key[1], message_id=key[0], request_id=request_id)
        self._repairs.add(self)
        return watched

    def _fits(self, watched: Watched, place: Place) -> bool:
        if place.reset:
            # Asked for while nothing had come yet, and all of it has come since: to begin again would show nothing new.
            # (An ended answer's text from the database is its piece 1, whatever was shown before.)
            seen = place.seq > 1 and (place.epoch, place.seq) == (watched.epoch, watched.seq)
            return place.epoch >= watched.epoch and not seen
        if place.epoch == watched.epoch:
            if place.first == watched.seq + 1:
                return True
            if place.first <= watched.seq:
                return False
        elif place.epoch < watched.epoch:
            return False
        self._repairs.ask_for_gap(self, watched)
        return False

    def _end(self, key: Key, epoch: int) -> None:
        del self._unfinished[key]
        self._ended[key] = epoch
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    # ---- What `Repairs` brings ----------------------------------------------------------------------------------

    def repaired(self, watched: Watched, resumed: Resumed) -> None:
        """A worker was asked. What was missing comes by itself, or has come."""
        asked = self._expected.pop((resumed.request_id, watched.frame_id), None)
        if watched.message_id is None:
            watched.message_id = resumed.message_id
            key = (resumed.message_id, watched.frame_id)
            if asked is not None or (resumed.request_id, watched.frame_id) in self._resuming:
                self._ended.pop(key, None)  # Asked for again, and what is to be shown may come after this reply.
            if len(self._unfinished) >= MOST_WATCHED and key not in self._unfinished:
                self._crowded = True
            elif key not in self._ended:
                self._unfinished.setdefault(key, watched)
                self._repairs.add(self)
        if resumed.running or resumed.status.terminal:
            watched.heard(time.monotonic())
        else:
            watched.later(time.monotonic(), soon=resumed.status is MessageStatus.STREAMING)

    def not_repaired(self, watched: Watched, error: RequestError) -> None:
        """No worker could be asked, or there is no such answer (any more)."""
        if error.code is ErrorCode.NOT_FOUND and watched.message_id is not None:
            self._forget(watched)
            frame_id = None if watched.frame_id is None else msgspec.json.decode(watched.frame_id)
            self._put(error_frame(error, frame_id=frame_id, request_id=watched.request_id))
        else:
            watched.later(time.monotonic())

    def _forget(self, watched: Watched) -> None:
        if watched.message_id is not None and self._unfinished.get((watched.message_id, watched.frame_id)) is watched:
            del self._unfinished[watched.message_id, watched.frame_id]


def _as_json(frame_id: FrameId | None) -> bytes | None:
    return None if frame_id is None else msgspec.json.encode(frame_id)
