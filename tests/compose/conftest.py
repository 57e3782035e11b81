"""One project for all tests here: they run in the order in which they stand, and each takes it as it is."""

from collections.abc import Iterator

import pytest

from tests.compose.project import Project, built_project


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--build-network", default="default", help="the network of image builds (`host`: where only that has a way out)"
    )


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Project]:
    network = str(request.config.getoption("--build-network"))
    with built_project(tmp_path_factory.mktemp("compose"), network) as built:
        yield built
