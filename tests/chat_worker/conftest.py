"""Two workers' stores on one database, and what most tests need to have happened before."""

from collections.abc import AsyncIterator

import pytest

from libs.database.engine import opened_engine
from services.chat_worker.store import Store


@pytest.fixture
async def stores(chat_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores with an engine each, as two worker processes have."""
    async with opened_engine(chat_url) as one, opened_engine(chat_url) as other:
        yield Store(one), Store(other)


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]
