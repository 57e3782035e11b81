"""Chat worker: answers every stored chat request with a stream of tokens, and questions about conversations.

NATS ── chat.v1.send.* (queue) ──▶ Answering ─▶ Store      ─▶ database
                                       └─▶ Generations ── prompt ──▶ LM Studio
NATS ◀── reply.<gateway>.<connection> ──────┘          ◀── tokens ──
NATS ◀─▶ chat.v1.query.* ─▶ Questions
"""

import asyncio
from pathlib import Path

import structlog
from starlette.applications import Starlette

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.work_queue import WorkQueue
from libs.contract import streams, subjects
from libs.contract.ids import new_id
from libs.database.engine import BadDatabaseUrl, opened_engine
from libs.database.migrations import MigrationFailed, until_migrated
from libs.database.transactions import DatabaseUnavailable, check
from libs.runtime.logs import configure_logs
from libs.runtime.probes import probe_routes
from libs.runtime.process import Process, run
from libs.runtime.serving import serve
from libs.runtime.settings import load
from services.chat_worker import metrics
from services.chat_worker.answering import Answering
from services.chat_worker.generations import Generations
from services.chat_worker.lm_studio.exchange import Deadlines
from services.chat_worker.lm_studio.server import BadModelServerUrl
from services.chat_worker.lm_studio.sources import open_sources
from services.chat_worker.questions import Questions
from services.chat_worker.settings import Settings
from services.chat_worker.store import Store
from services.chat_worker.sweeper import Sweeper

log = structlog.get_logger(__name__)

# After the grace period: to hand back what still runs.
SCHEMA_SECONDS = 30.0
MIGRATIONS = Path(__file__).parent / "migrations"
HAND_BACK_SECONDS = 5.0


async def chat_worker(settings: Settings, process: Process) -> None:
    worker = new_id()
    # Opened top to bottom, closed bottom to top: stop listening, hang up, close the database.
    async with (
        open_sources(
            settings.lm_studio_url,
            api_key=settings.lm_studio_api_key,
            default=settings.lm_studio_model,
            fallback_url=settings.lm_studio_fallback_url,
            deadlines=deadlines(settings),
        ) as sources,
        opened_engine(settings.database_url) as engine,
        connect(settings.nats_url, name=f"chat_worker {worker[:8]}") as bus,
    ):
        # It may start beside the provisioning step.
        await until_migrated(engine, MIGRATIONS, seconds=SCHEMA_SECONDS)
        store = Store(engine)
        generations = Generations(store, bus, sources, worker=worker, system_prompt=settings.system_prompt)
        queue = WorkQueue(bus, streams.CHAT, Answering(store, bus, generations).handle, slots=settings.slots)
        questions = Questions(store, sources, bus)
        publish_metrics(generations, queue, bus)

        process.keep_running(bus.until_lost(), name="bus")
        process.keep_running(generations.lease.beat_forever(), name="lease")
        process.keep_running(generations.checkpoint_forever(), name="checkpoints")
        process.keep_running(Sweeper(store, bus).run(), name="sweeper")
        consumer = process.keep_running(queue.run(), name="consumer")
        async with bus.serving(subjects.CHAT_QUERY_ALL, questions.answer, queue="chat_worker"):
            await serve(
                Starlette(
                    routes=probe_routes(
                        process,
                        needs={"nats": bus.ping, "stream": queue.ping, "database": lambda: check(engine)},
                        likes=sources.pings(),
                    )
                ),
                process,
                host=settings.host,
                port=settings.port,
                drain=lambda: drain(queue, consumer, generations, settings.grace_seconds),
            )


def deadlines(settings: Settings) -> Deadlines:
    return Deadlines(
        connect=settings.connect_seconds,
        first_byte=settings.first_byte_seconds,
        idle=settings.idle_seconds,
        total=settings.total_seconds,
    )


async def drain(queue: WorkQueue, consumer: asyncio.Task[None], generations: Generations, seconds: float) -> None:
    """Takes no new requests, lets the running answers end, and hands back what has not ended after `seconds`."""
    queue.stop()
    await asyncio.wait([consumer], timeout=seconds)
    generations.hand_back()
    await asyncio.wait([consumer], timeout=HAND_BACK_SECONDS)


def publish_metrics(generations: Generations, queue: WorkQueue, bus: Bus) -> None:
    metrics.RUNNING.set_function(generations.count)
    metrics.REQUESTS_IN_HAND.set_function(lambda: queue.running)
    metrics.BUS_RECONNECTS.set_function(lambda: bus.reconnects)


def main() -> None:
    settings = load(Settings)
    configure_logs("chat_worker", log_format=settings.log_format, level=settings.log_level)
    shown = {"host", "port", "slots", "grace_seconds", "lm_studio_url", "lm_studio_fallback_url"}
    log.info("starting", **settings.model_dump(include=shown))
    run(
        lambda process: chat_worker(settings, process),
        cannot_start=(BusUnavailable, BadDatabaseUrl, BadModelServerUrl, DatabaseUnavailable, MigrationFailed),
    )


if __name__ == "__main__":
    main()
