"""`python -m libs.provisioning`: makes streams and schemas what this version needs. Safe to repeat, and to run twice.

    contract's streams ──▶ NATS          services/<name>/migrations ──▶ that service's database

Waits up to 30 s for each server. Exit code 0, or 1 with a sentence that says what is wrong.
"""

import asyncio
import logging
import sys
from pathlib import Path

from libs.bus.connection import connect
from libs.bus.streams import provision
from libs.contract import streams
from libs.contract.errors import RequestError
from libs.database.engine import BadDatabaseUrl, opened_engine
from libs.database.migrations import MigrationFailed, Upgrade, upgrade
from libs.database.transactions import DatabaseUnavailable, ping
from libs.provisioning.settings import Settings
from libs.runtime.logs import configure_logs
from libs.runtime.settings import load

WAIT_SECONDS = 30.0
RETRY_SECONDS = 0.25
SERVICES = Path(__file__).parents[2] / "services"


async def provision_all(settings: Settings) -> None:
    """Schemas first: a worker that waits for its stream then finds its tables.

    Raises what `main` turns into sentences.
    """
    databases = {
        "chat_worker": settings.chat_worker_database_url,
        "task_service": settings.task_service_database_url,
    }
    for service, url in databases.items():
        if url:
            await _wait_for_database(url)
            _say(f"{service} schema: {_told(await upgrade(url, SERVICES / service / 'migrations'))}")
    async with connect(settings.nats_url, name="provisioning", startup_seconds=WAIT_SECONDS) as bus:
        await provision(bus, streams.ALL, replicas=settings.nats_replicas)
    _say(f"streams: {', '.join(stream.name for stream in streams.ALL)} as the contract says")


async def _wait_for_database(url: str) -> None:
    async with opened_engine(url) as engine:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        while True:
            try:
                return await ping(engine)
            except DatabaseUnavailable:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def _told(done: Upgrade) -> str:
    if done.before == done.after:
        return f"at revision {done.after} already"
    return f"from {f'revision {done.before}' if done.before else 'nothing'} to revision {done.after}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    settings = load(Settings)
    configure_logs("provisioning", level="WARNING")
    # MariaDB warns, and asyncmy logs, that a primary key has no name: Alembic gives its own one.
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    try:
        asyncio.run(provision_all(settings))
    except (RequestError, BadDatabaseUrl, MigrationFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Exception as error:  # noqa: BLE001 (the edge: a server that refuses is told in its own words, not in a trace)
        sys.stderr.write(f"Provisioning failed: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
