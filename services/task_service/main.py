"""Task service: carries out commands about tasks, and publishes every change of one.

NATS ◀─▶ task.v1.command.* ─▶ Commands ─▶ Store ─▶ database: task, event, frame in one transaction
NATS ◀── task.v1.task.<id>.updated ── Publisher ◀─ committed ┘
"""

import asyncio
from pathlib import Path

import structlog
from starlette.applications import Starlette

from libs.bus.connection import BusUnavailable, connect
from libs.contract import subjects
from libs.contract.ids import new_id
from libs.database.engine import BadDatabaseUrl, opened_engine
from libs.database.migrations import MigrationFailed, until_migrated
from libs.database.transactions import DatabaseUnavailable, ping
from libs.runtime.logs import configure_logs
from libs.runtime.probes import probe_routes
from libs.runtime.process import Process, run
from libs.runtime.serving import serve
from libs.runtime.settings import load
from services.task_service import metrics
from services.task_service.commands import Commands
from services.task_service.publisher import Publisher
from services.task_service.settings import Settings
from services.task_service.store import Store

log = structlog.get_logger(__name__)

FINISH_SECONDS = 3.0
SCHEMA_SECONDS = 30.0
MIGRATIONS = Path(__file__).parent / "migrations"


async def task_service(settings: Settings, process: Process) -> None:
    # Opened top to bottom, closed bottom to top: stop listening, see that all is told, hang up, close the database.
    async with (
        opened_engine(settings.database_url) as engine,
        connect(settings.nats_url, name=f"task_service {new_id()[:8]}") as bus,
    ):
        # It may start beside the provisioning step.
        await until_migrated(engine, MIGRATIONS, seconds=SCHEMA_SECONDS)
        store = Store(engine)
        publisher = Publisher(store, bus)
        commands = Commands(store, publisher.publish)
        metrics.BUS_RECONNECTS.set_function(lambda: bus.reconnects)

        process.keep_running(bus.until_lost(), name="bus")
        publishing = process.keep_running(publisher.run(), name="publisher")
        async with bus.serving(subjects.TASK_COMMAND_ALL, commands.answer, queue="task_service"):
            await serve(
                Starlette(
                    routes=probe_routes(process, needs={"nats": bus.ping, "database": lambda: ping(engine)}, likes={})
                ),
                process,
                host=settings.host,
                port=settings.port,
            )
        # Only now: the commands in hand have ended. What cannot be published any more, the next start publishes.
        publisher.stop()
        await asyncio.wait([publishing], timeout=FINISH_SECONDS)


def main() -> None:
    settings = load(Settings)
    configure_logs("task_service", log_format=settings.log_format, level=settings.log_level)
    log.info("starting", **settings.model_dump(include={"host", "port"}))
    run(
        lambda process: task_service(settings, process),
        cannot_start=(BusUnavailable, BadDatabaseUrl, DatabaseUnavailable, MigrationFailed),
    )


if __name__ == "__main__":
    main()
