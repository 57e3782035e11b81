"""Gateway: the WebSocket between clients and the bus. Thin: it knows frames and subjects, and no domain.

client ══ frame ══▶ Connections ─▶ Requests ──▶ chat.v1.send.<conversation>   (stored, then answered on …)
client ◀═ frame ══ Connections ◀──────────────── reply.<gateway>.<connection>  (finished frames, byte for byte)
                                   Requests ◀─▶ chat.v1.query.<name>, …       (asked and answered at once)
script ── /api/tasks ─▶ Requests ◀─▶ task.v1.command.<verb>
client ◀═ frame ══ Subscriptions ◀── Topics ◀─ monitoring.v1.host.<host>.sampled, task.v1.task.<id>.updated
"""

from functools import partial

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from redis.asyncio import Redis
from starlette.exceptions import HTTPException

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.contract import subjects
from libs.contract.frames import Limits
from libs.contract.ids import new_id
from libs.runtime.logs import configure_logs
from libs.runtime.probes import probe_routes
from libs.runtime.process import Process, run
from libs.runtime.serving import serve
from libs.runtime.settings import load
from services.gateway import metrics
from services.gateway.connection import Gateway
from services.gateway.connections import Connections
from services.gateway.contract import contract_routes
from services.gateway.heartbeats import Heartbeats
from services.gateway.http_tasks import openapi, refuse_address, refuse_parameters, task_routes
from services.gateway.rate_limits import RateLimits
from services.gateway.repairs import Repairs
from services.gateway.requests import Requests
from services.gateway.settings import Settings
from services.gateway.sockets import Socket
from services.gateway.topics import Topics, opened_topics

log = structlog.get_logger(__name__)


def create_app(process: Process, requests: Requests, bus: Bus, rates: RateLimits, max_body_bytes: int) -> FastAPI:
    # The page at /docs comes from here too, not from somebody's servers: an installation may have no way out.
    app = FastAPIOffline(
        redoc_url=None,
        title="Orquestrador",
        description="Tasks over HTTP. Everything that is live comes over the WebSocket at `/ws`: see `/asyncapi.json`.",
    )
    app.openapi = openapi(app)  # type: ignore[method-assign] # FastAPI's documented way to extend it
    app.include_router(task_routes(requests, max_body_bytes=max_body_bytes))
    app.add_exception_handler(RequestValidationError, refuse_parameters)
    app.add_exception_handler(HTTPException, refuse_address)
    app.router.routes.extend(contract_routes())
    app.router.routes.extend(probe_routes(process, needs={"nats": bus.ping}, likes={"valkey": rates.ping}))
    return app


async def gateway(settings: Settings, process: Process) -> None:
    gateway_id = new_id()
    # Opened top to bottom, closed bottom to top: say goodbye to the clients, stop listening, hang up.
    async with (
        Redis.from_url(settings.valkey_url, socket_connect_timeout=0.25, socket_timeout=0.25) as valkey,
        connect(settings.nats_url, name=f"gateway {gateway_id[:8]}") as bus,
        opened_topics(bus) as topics,
    ):
        rates = RateLimits(valkey, requests_per_minute=settings.requests_per_minute, burst=settings.burst)
        repairs = Repairs(bus)
        requests = Requests(bus, rates, max_frame_bytes=settings.max_frame_bytes)
        limits = Limits(
            max_frame_bytes=settings.max_frame_bytes,
            requests_per_minute=settings.requests_per_minute,
            burst=settings.burst,
            subscriptions=settings.subscriptions,
        )
        connections = Connections(Gateway(gateway_id, requests, topics, repairs, limits, settings.send_queue_bytes))
        heartbeats = Heartbeats()
        publish_metrics(connections, topics, bus)
        process.keep_running(bus.until_lost(), name="bus")
        process.keep_running(topics.run(), name="topics")
        process.keep_running(repairs.run(), name="repairs")
        process.keep_running(heartbeats.run(), name="heartbeats")
        async with bus.listening(subjects.all_replies(gateway_id), connections.deliver):
            await serve(
                create_app(process, requests, bus, rates, settings.max_frame_bytes),
                process,
                host=settings.host,
                port=settings.port,
                websockets=partial(Socket, connections, heartbeats),
                drain=lambda: connections.drain(settings.drain_seconds),
            )


def publish_metrics(connections: Connections, topics: Topics, bus: Bus) -> None:
    metrics.CONNECTIONS.set_function(connections.count)
    metrics.SEND_QUEUE_BYTES.set_function(connections.waiting_bytes)
    metrics.CLIENT_TASKS.set_function(connections.pending)
    metrics.WATCHED.set_function(connections.watched)
    metrics.SUBSCRIPTIONS.set_function(connections.subscriptions)
    metrics.TOPICS.set_function(topics.count)
    metrics.BUS_RECONNECTS.set_function(lambda: bus.reconnects)


def main() -> None:
    settings = load(Settings)
    configure_logs("gateway", log_format=settings.log_format, level=settings.log_level)
    log.info("starting", **settings.model_dump(exclude={"nats_url", "valkey_url"}))
    run(lambda process: gateway(settings, process), cannot_start=(BusUnavailable,))


if __name__ == "__main__":
    main()
