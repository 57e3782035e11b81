"""`scripts/try`: uses the running system as a client would, and says with ticks and crosses what works.

The exit code is 0 only if everything worked.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from libs.client.connection import Answer, Client, ClientError, Frame, open_client

DEFAULT_URL = "ws://127.0.0.1:3001/ws"
DEFAULT_MESSAGE = "Olá! In two sentences: what is a message queue good for?"
# An agent that samples every 10 s, and some patience.
PUSH_SECONDS = 15.0

Step = Callable[[Client], Awaitable[str]]


class Screen:
    """Prints for people: colours on a terminal, plain text elsewhere."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty()

    def tick(self, name: str, detail: str) -> None:
        print(f"{self._coloured('✓', 32)} {name:<12} {detail}", flush=True)

    def cross(self, name: str, detail: str) -> None:
        print(f"{self._coloured('✗', 31)} {name:<12} {detail}", flush=True)

    def piece(self, text: str, *, faint: bool = False) -> None:
        print(self._coloured(text, 2) if faint else text, end="", flush=True)

    def line(self, text: str = "") -> None:
        print(text, flush=True)

    def _coloured(self, text: str, colour: int) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours and text else text


class Trial:
    """The checks, in order; each one is a sentence about the system."""

    def __init__(self, screen: Screen, url: str, message: str) -> None:
        self._screen = screen
        self._url = url
        self._message = message
        self._answer = Answer()

    async def run(self, client: Client) -> bool:
        """Runs every check, also after one has failed. True if all worked."""
        steps: list[tuple[str, Step]] = [
            ("ping", self._ping),
            ("monitoring", self._monitoring),
            ("models", self._models),
            ("chat", self._chat),
            ("history", self._history),
            ("task", self._task),
        ]
        worked = [await self._step(name, step, client) for name, step in steps]
        return all(worked)

    async def _step(self, name: str, step: Step, client: Client) -> bool:
        try:
            self._screen.tick(name, await step(client))
        except ClientError as error:
            self._screen.cross(name, f"{error}" + (f" ({error.code})" if error.code else ""))
            return False
        except TimeoutError:
            self._screen.cross(name, f"nothing came within {PUSH_SECONDS:g} s")
            return False
        except ConnectionClosed:
            self._screen.cross(name, "the server has closed the connection")
            return False
        return True

    async def _ping(self, client: Client) -> str:
        started = perf_counter()
        await client.ask("ping")
        return f"answered in {(perf_counter() - started) * 1000:.1f} ms"

    async def _monitoring(self, client: Client) -> str:
        await client.ask("monitoring:subscribe", {"intervalSeconds": 1})
        sample = await self._pushed(client, "metrics")
        hosts = (await client.ask("monitoring:hosts"))["data"]["hosts"]
        await client.ask("monitoring:unsubscribe")
        points = (await client.ask("monitoring:history", {"host": sample["host"]}))["data"]["points"]
        for host in hosts:
            self._screen.line(f"  {host['host']} is {host['status']}")
        top = sample["processes"]["top"]
        busiest = f", busiest: {top[0]['name']}" if top else ""
        usage = f"cpu {_percent(sample['cpu']['usage'])}, memory {_percent(sample['memory']['usedPercent'])}"
        return f"{sample['host']}: {usage}{busiest}; {len(points)} point{'' if len(points) == 1 else 's'} of history"

    async def _models(self, client: Client) -> str:
        listed = (await client.ask("model:list"))["data"]
        if not listed["models"]:
            raise ClientError("the model server has no model; load one in LM Studio")
        default = next((model for model in listed["models"] if model["id"] == listed["default"]), listed["models"][0])
        context = f", {default['contextLength']} tokens of context" if default["contextLength"] else ""
        return f"{default['id']}{context} (one of {len(listed['models'])})"

    async def _chat(self, client: Client) -> str:
        self._screen.line(f"\n  you: {self._message}")
        started = perf_counter()
        first: float | None = None
        thinking = False
        try:
            async for frame in client.chat(self._message):
                self._answer.take(frame)
                data = frame["data"]
                if frame["type"] == "chat:status":
                    self._screen.line(f"  ({data['status'].replace('_', ' ')} …)")
                if frame["type"] != "chat:streaming" or data["done"]:
                    continue
                if first is None:
                    first = perf_counter() - started
                    self._screen.piece("  it:  ")
                if data.get("reasoning"):
                    thinking = True
                    self._screen.piece(data["reasoning"], faint=True)
                if data["chunk"] and thinking:
                    thinking = False
                    self._screen.piece("\n       ")
                self._screen.piece(data["chunk"].replace("\n", "\n       "))
        finally:
            self._screen.line("\n")
        return self._verdict(first)

    async def _task(self, client: Client) -> str:
        task = (await client.ask("task:create", {"title": "Tried by scripts/try"}))["data"]["task"]
        await client.ask("task:subscribe", {"taskId": task["id"]})
        shown = [await self._pushed(client, "task:update")]
        started = perf_counter()
        async with open_client(self._url) as elsewhere:
            for change in ({"status": "executing", "progress": 50}, {"status": "completed"}):
                await elsewhere.ask("task:update", {"taskId": task["id"], **change})
                shown.append(await self._pushed(client, "task:update"))
        seconds = perf_counter() - started
        await client.ask("task:unsubscribe", {"taskId": task["id"]})
        for state in shown:
            self._screen.line(f"  {state['revision']}  {state['task']['status']:<9}  {state['task']['progress']} %")
        if [state["revision"] for state in shown] != [1, 2, 3]:
            raise ClientError("the changes did not come in order")
        return f"task {task['id']} was followed while another connection changed it ({seconds * 1000:.0f} ms)"

    async def _pushed(self, client: Client, frame_type: str) -> Frame:
        """The data of the next frame of this type."""
        async with asyncio.timeout(PUSH_SECONDS):
            while (frame := await client.pushed.get())["type"] != frame_type:
                if frame["type"] == "closed":
                    raise ClientError("the server has closed the connection")
        data: Frame = frame["data"]
        return data

    def _verdict(self, first: float | None) -> str:
        done, message = self._answer.done, self._answer.message
        if done is None or done["status"] != "complete":
            raise ClientError(f"the answer ended as {done['status'] if done else 'nothing'}")
        if message is None or message["content"] != self._answer.text:
            raise ClientError("the stored answer is not the text that was shown")
        tokens = f"{done['usage']['completionTokens']} tokens, " if done.get("usage") else ""
        speed = f", {done['tokensPerSecond']:.0f} tokens/s" if done.get("tokensPerSecond") else ""
        return f"{tokens}first text after {(first or 0) * 1000:.0f} ms{speed}, by {done.get('model')}"

    async def _history(self, client: Client) -> str:
        if self._answer.message is None:
            raise ClientError("there is no stored answer to look for")
        conversation = self._answer.message["conversationId"]
        messages = (await client.ask("chat:history", {"conversationId": conversation}))["data"]
        for message in messages:
            self._screen.line(f"  {message['timestamp'][:19]}  {message['role']:<9}  {_one_line(message['content'])}")
        stored = [message["content"] for message in messages]
        if stored[-2:] != [self._message, self._answer.text]:
            raise ClientError("the question and the answer are not the last two messages of the history")
        return f"conversation {conversation} holds the question and the whole answer"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} %"


def _one_line(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


async def try_it(url: str, message: str) -> bool:
    screen = Screen()
    try:
        started = perf_counter()
        async with open_client(url) as client:
            screen.tick("connect", f"{url} in {(perf_counter() - started) * 1000:.0f} ms")
            worked = await Trial(screen, url, message).run(client)
    except (OSError, TimeoutError, ClientError, InvalidHandshake, InvalidURI) as error:
        screen.cross("connect", f"nobody serves {url}: {error}")
        screen.line("  Start it with scripts/up, or give its address: scripts/try --url ws://HOST:PORT/ws")
        return False
    screen.line("\nEverything works." if worked else "\nNot everything works; the crosses say what.")
    return worked


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/try", description="Tries a running Orquestrador as a client would.")
    parser.add_argument("--url", default=DEFAULT_URL, help="the gateway's WebSocket (default: %(default)s)")
    parser.add_argument("--message", default=DEFAULT_MESSAGE, help="what to ask the model")
    arguments = parser.parse_args()
    sys.exit(0 if asyncio.run(try_it(arguments.url, arguments.message)) else 1)


if __name__ == "__main__":
    main()
