"""`python -m tests.scripted_model --port 0`: prints where it listens, then serves until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from typing import get_args

from tests.scripted_model.catalogs import Flavour
from tests.scripted_model.server import ScriptedModel


async def serve(port: int, flavour: Flavour, also: list[str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ScriptedModel.running(port=port, flavour=flavour, also=also) as model:
        sys.stdout.write(f"listening on {model.url}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_model", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--flavour", choices=get_args(Flavour), default="lmstudio-v1", help="whose model list to show")
    parser.add_argument(
        "--also",
        default="",
        help="more names to list, separated by commas: paced-N-R (N tokens, R per second), tokens-N, stall-N",
    )
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.flavour, [name for name in arguments.also.split(",") if name]))


if __name__ == "__main__":
    main()
