"""A data folder, and a supervisor whose lines are collected and whose children are gone after the test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import Leash
from libs.local_stack.supervisor import Supervisor


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    data = DataFolder(tmp_path / "data")
    data.claim()
    yield data
    data.release()


@pytest.fixture
def said() -> list[str]:
    """What the supervisor has told the person."""
    return []


@pytest.fixture
async def supervisor(folder: DataFolder, said: list[str]) -> AsyncIterator[Supervisor]:
    leash = Leash()
    started = Supervisor(folder, leash, said.append)
    yield started
    await started.stop()
    leash.close()
