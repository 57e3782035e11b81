"""Which tests run in one process when several run at once: those that share what takes seconds to start.

By the beginnings of their names, because pytest-xdist's scheduler knows nothing else of them (its own groups do
not work with pytest 9.2, whose node ids cannot be changed).
"""

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped] # pytest-xdist has no types

# In the order in which they are begun: what takes longest comes first, and nobody waits for it at the end.
MARIADB, STACK, GATEWAY = "a MariaDB", "a whole stack", "a gateway"
SHARED = {
    "tests/system/test_failures.py::test_the_whole_stack_runs_on_mariadb": MARIADB,
    "tests/system/": STACK,
    "tests/chat_worker/test_store": MARIADB,
    "tests/database/": MARIADB,
    "tests/task_service/": MARIADB,
    "tests/gateway/": GATEWAY,
}
ORDER = [STACK, MARIADB, GATEWAY]


class ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc] # as above
    """All that shares something goes to one process, the rest file by file."""

    def _split_scope(self, nodeid: str) -> str:
        return shared_by(nodeid) or nodeid.partition("::")[0]


def shared_by(nodeid: str) -> str | None:
    return next((shared for beginning, shared in SHARED.items() if nodeid.startswith(beginning)), None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByWhatIsShared:
    config.option.loadscopereorder = False
    return ByWhatIsShared(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that disturb the stack come after those that only use it."""
    items.sort(
        key=lambda item: (_rank(item.nodeid), isinstance(item, pytest.Function) and "fragile" in item.fixturenames)
    )


def _rank(nodeid: str) -> int:
    shared = shared_by(nodeid)
    return ORDER.index(shared) if shared else len(ORDER)
