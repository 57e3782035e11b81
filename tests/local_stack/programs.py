"""Small child programs that behave well or badly, as the supervisor would start them."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from libs.local_stack.processes import Layer, Program

STAY = "import signal; print('staying', flush=True); signal.pause()"
STAY_ANYWAY = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('staying', flush=True); signal.pause()"
)


async def ready_at_once() -> bool:
    await asyncio.sleep(0)
    return True


async def never_ready() -> bool:
    await asyncio.sleep(0)
    return False


def python(
    name: str,
    code: str,
    *,
    layer: Layer = Layer.WORKER,
    ready: Callable[[], Awaitable[bool]] = ready_at_once,
    stop_seconds: float = 5.0,
    env: Mapping[str, str] | None = None,
) -> Program:
    """`python -c code` as a program."""
    return Program(
        name=name,
        layer=layer,
        command=[sys.executable, "-c", code],
        env=env or {},
        url=f"http://{name}",
        ready=ready,
        stop_seconds=stop_seconds,
    )
