"""Two workers' stores on one database, and what most tests need to have happened before."""

from collections.abc import AsyncIterator

import pytest

from libs.database.engine import open_engine
from services.chat_worker.store import Store


@pytest.fixture
async def stores(chat_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores with an engine each, as two worker processes have."""
    engines = [open_engine(chat_url), open_engine(chat_url)]
    yield Store(engines[0]), Store(engines[1])
    for engine in engines:
        await engine.dispose()


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]
