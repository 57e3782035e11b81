"""Two services' stores on one database."""

from collections.abc import AsyncIterator

import pytest

from libs.database.engine import opened_engine
from services.task_service.store import Store


@pytest.fixture
async def stores(task_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores with an engine each, as two processes have."""
    async with opened_engine(task_url) as one, opened_engine(task_url) as other:
        yield Store(one), Store(other)


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]
