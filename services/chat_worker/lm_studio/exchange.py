"""One HTTP exchange with the model server: its connection, its deadlines, and what went wrong in our words."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import NamedTuple, Self

from libs.contract.errors import RequestError
from services.chat_worker.lm_studio import model_errors
from services.chat_worker.lm_studio.completion import CompletionReader
from services.chat_worker.lm_studio.http1 import Broken, DeadlinePassedError, Response
from services.chat_worker.lm_studio.server import ModelServer

# A whole completion of a server that does not stream; a complaint is read as far as this too.
_MAX_BODY_BYTES = 1024 * 1024

# How long to wait for usage and `[DONE]` once the finish reason is known; the answer itself is there.
_TAIL_SECONDS = 5.0


class Deadlines(NamedTuple):
    """How long to wait, in seconds.

    `first_byte` reaches to the first text: loading a model and reading a long prompt take minutes in which nothing
    comes. From then on `idle` is the longest silence; comments do not break it.
    """

    connect: float = 2.0
    first_byte: float = 600.0
    idle: float = 120.0
    total: float = 1800.0


class Exchange:
    """`async with`: one request and its response; leaving it closes the connection at once, wherever it stands.

    What the server does wrong raises nothing: the waits end with no bytes, and `failure` says why.
    """

    def __init__(self, server: ModelServer, deadlines: Deadlines) -> None:
        self._server = server
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + deadlines.total
        self._due = self._ends
        self._awaited = ("began no answer", deadlines.first_byte)
        self._response: Response | None = None
        self._events_heard = 0
        self.failure: RequestError | None = None

    @property
    def status(self) -> int:
        return HTTPStatus.OK if self._response is None or self._response.status is None else self._response.status

    @property
    def retry_after(self) -> str | None:
        return None if self._response is None else self._response.headers.get("retry-after")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()

    async def ask(self, body: bytes) -> bytes:
        """Sends the request → the first bytes of what comes back."""
        self._wait_for("began no answer", self._deadlines.first_byte)
        try:
            async with asyncio.timeout(self._deadlines.connect):
                self._response = await self._server.origin.post("/v1/chat/completions", body)
        except TimeoutError:
            self.failure = model_errors.too_late("took no connection", self._deadlines.connect)
        except ssl.SSLError as error:
            self.failure = model_errors.untrusted(self._server.url, str(error.reason or error))
        except (OSError, UnicodeError):
            self.failure = model_errors.unreachable(self._server.url)
        else:
            self._response.set_due(self._due)
        data = await self.read()
        if self._response is not None and self._response.headers.get("content-encoding", "identity") != "identity":
            self.failure = model_errors.compressed()
            return b""
        return data

    async def read(self) -> bytes:
        """The next bytes as they arrive; none: that was all, or `failure`."""
        if self._response is not None:
            with self._failing():
                return await self._response.read()
        return b""

    async def hand_on(self, take: Callable[[bytes], bool]) -> None:
        """All further bytes to `take`, each read as it comes, until it says that this is enough, or `failure`."""
        if self._response is not None:
            with self._failing():
                await self._response.hand_on(take)

    async def whole_body(self, body: bytes) -> bytes:
        """The rest of a body that is no stream, up to a bound. It exists already, so silence is a fault."""
        self._wait_for("said nothing more", self._deadlines.idle)
        while len(body) < _MAX_BODY_BYTES and (data := await self.read()):
            body += data
        return body

    def heard(self, reader: CompletionReader) -> None:
        """Moves the deadline after a read.

        Comments and keep-alives are no progress; nor is an event before the first text, since some servers send the
        role at once and read the prompt after it.
        """
        if reader.events == self._events_heard:
            return
        self._events_heard = reader.events
        if reader.finish_reason is not None:
            self._wait_for("did not end its answer", _TAIL_SECONDS)
        elif reader.spoke:
            self._wait_for("said nothing more", self._deadlines.idle)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except DeadlinePassedError:
            self.failure = self._too_late()
        except Broken:
            begun = self._response is not None and self._response.status is not None
            self.failure = model_errors.broken_off() if begun else model_errors.hung_up(self._server.url)

    def _wait_for(self, what: str, seconds: float) -> None:
        self._awaited = (what, seconds)
        self._due = min(self._loop.time() + seconds, self._ends)
        if self._response is not None:
            self._response.set_due(self._due)

    def _too_late(self) -> RequestError:
        if self._loop.time() >= self._ends:
            return model_errors.too_late("did not finish its answer", self._deadlines.total)
        return model_errors.too_late(*self._awaited)
