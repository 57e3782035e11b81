"""Two workers' stores on one database, and what most tests need to have happened before."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from shutil import copy

import pytest
import uvloop

from libs.database.engine import opened_engine
from services.chat_worker.store import Store


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that production runs: it rings, reads and closes in ways of its own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stores(chat_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores with an engine each, as two worker processes have."""
    async with opened_engine(chat_url) as one, opened_engine(chat_url) as other:
        yield Store(one), Store(other)


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]


@pytest.fixture
async def sqlite_store(sqlite_chat_file: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """For tests that are about something else than the database."""
    file = copy(sqlite_chat_file, tmp_path / "chat.db")
    async with opened_engine(f"sqlite+aiosqlite:///{file}") as engine:
        yield Store(engine)
