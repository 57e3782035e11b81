"""`/healthz`, `/readyz` and `/metrics`: what an orchestrator, a person and Prometheus ask of every service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from libs.runtime.process import Process

Check = Callable[[], Awaitable[object]]

EVENT_LOOP_TASKS = Gauge("event_loop_tasks", "Tasks on the event loop: after any churn, as many as before it")

# `/readyz` promises its answer within 2 s.
CHECK_SECONDS = 1.8


def probe_routes(process: Process, *, needs: Mapping[str, Check], likes: Mapping[str, Check]) -> list[Route]:
    """The three routes. A check returns when its dependency answers, and raises a sentence when not.

    What the service `needs` makes it unready when away; what it only `likes` is reported, no more.
    """

    async def healthz(_: Request) -> Response:
        # To have come here is the proof: the event loop turns.
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        needed, liked = await asyncio.gather(_results(needs), _results(likes))
        for name in process.dead_loops():
            needed[name] = "this loop has died"
        if process.stopping:
            needed["process"] = "stopping"
        failing = sorted(name for name, result in needed.items() if result != "ok")
        body = {"ready": not failing, "failing": failing, "checks": needed, "optional": liked}
        return JSONResponse(body, status_code=503 if failing else 200)

    async def metrics(_: Request) -> Response:
        EVENT_LOOP_TASKS.set(len(asyncio.all_tasks()))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


async def _results(checks: Mapping[str, Check]) -> dict[str, str]:
    results = await asyncio.gather(*(_result(check) for check in checks.values()))
    return dict(zip(checks, results, strict=True))


async def _result(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 (whatever a dependency raises is what the probe has to tell)
        return str(error) or type(error).__name__
    return "ok"
