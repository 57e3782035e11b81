"""Starts everything on this machine and keeps it running until Ctrl-C: what `scripts/up` runs."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from libs.local_stack import environment, screen
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import ROOT, Leash
from libs.local_stack.stack import Options, Stack
from libs.local_stack.start_error import StartError
from libs.local_stack.supervisor import Supervisor

EXAMPLES = """\
examples:
  scripts/up                              all on this machine, clients connect to ws://127.0.0.1:3001/ws
  scripts/up --builtin-model              do not look for LM Studio, use the model that comes along
  scripts/up --gateways 2 --workers 2     gateways on the ports 3001 and 3002, answers shared by two workers
  scripts/up --port 4001 --data data2     a second, independent stack

Settings are read from the environment and from the file .env (.env.example lists them), LM_STUDIO_URL among them.
Paths are relative to the repository. Ctrl-C stops everything in order; a second Ctrl-C at once.
"""


def parse(arguments: list[str], env: Mapping[str, str]) -> Options:
    """The options; argparse itself ends the program for `--help` (0) and for what it does not understand (2)."""
    # Text: argparse checks it as if it had been typed.
    default_port = env.get("GATEWAY_PORT") or "3001"
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Starts NATS, Valkey, a model server if needed, and the services; keeps them running until Ctrl-C.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port", type=between(1, 65535), default=default_port, help="port of the (first) gateway (%(default)s)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder for everything that is kept (data)")
    parser.add_argument("--gateways", type=between(1, 16), default=1, metavar="N", help="how many gateways (1)")
    parser.add_argument("--workers", type=between(1, 16), default=1, metavar="N", help="how many chat workers (1)")
    parser.add_argument("--builtin-model", action="store_true", help="use the built-in model whatever else answers")
    chosen = parser.parse_args(arguments)
    if chosen.port + chosen.gateways > 65536:
        parser.error(f"--port {chosen.port} leaves no room for {chosen.gateways} gateways")
    return Options(
        port=chosen.port,
        data=ROOT / chosen.data,
        gateways=chosen.gateways,
        workers=chosen.workers,
        builtin_model=chosen.builtin_model,
    )


def between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return number


T = TypeVar("T")


async def run(options: Options, env: Mapping[str, str]) -> None:
    """Start, stay, stop. Raises StartError after everything that had started is stopped again."""
    stopwatch = screen.Stopwatch()
    folder = DataFolder(options.data)
    folder.claim()
    try:
        folder.rotate_logs()
        leash = Leash(keep_open=folder.inherited)
        supervisor = Supervisor(folder, leash, screen.say)
        interrupted = watch_signals(supervisor)
        screen.say("Starting …")
        try:
            choice = await unless(interrupted, Stack(options, env, folder, supervisor).start())
            if choice is not None:
                screen.show_ready(folder, supervisor.running(), model=choice.why, seconds=stopwatch.seconds)
                await interrupted.wait()
            screen.say("\nStopping …")
        finally:
            await supervisor.stop()
            leash.close()
    finally:
        folder.release()


async def unless(interrupted: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when it was interrupted before it had one."""
    working = asyncio.create_task(work)
    waiting = asyncio.create_task(interrupted.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return await working
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return None


def watch_signals(supervisor: Supervisor) -> asyncio.Event:
    """Set by the first signal that asks to stop; from the second on, every process is killed."""
    interrupted = asyncio.Event()

    def signalled() -> None:
        if interrupted.is_set():
            supervisor.kill()
        interrupted.set()

    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # Started with nohup: it is meant to outlive its terminal.
        numbers.remove(signal.SIGHUP)
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    return interrupted


def main() -> int:
    try:
        env = environment.load(ROOT / ".env")
        asyncio.run(run(parse(sys.argv[1:], env), env))
    except StartError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    screen.say("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
