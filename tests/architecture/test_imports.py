"""Who may import what. The layers themselves are import-linter contracts in pyproject.toml."""

import ast
import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture import source

OURS = {"libs", "services", "tests", "bench"}


def importers(package: str) -> set[Path]:
    return {module for module in source.modules("libs", "services") if package in source.packages(module)}


def in_folder(module: Path, folder: str) -> bool:
    return module.is_relative_to(folder)


def test_only_the_bus_knows_nats() -> None:
    """The work-rounds for the client's defects hold only while nobody goes past them."""
    assert {module for module in importers("nats") if not in_folder(module, "libs/bus")} == set()


def test_only_stores_and_tables_know_the_database() -> None:
    """SQL stands in `store*.py`, `tables.py`, migrations and libs.database."""

    def allowed(module: Path) -> bool:
        named = module.name.startswith("store") or module.name == "tables.py"
        return named or "migrations" in module.parts or in_folder(module, "libs/database")

    assert {module for module in importers("sqlalchemy") if not allowed(module)} == set()


def test_only_settings_modules_read_the_environment() -> None:
    """The launcher, which hands the environment on, is the one exception."""

    def reads_environment(module: Path) -> bool:
        names = {node.attr for node in ast.walk(source.tree(module)) if isinstance(node, ast.Attribute)}
        return bool({"environ", "getenv", "environb"} & (names | {name[3:] for name in source.imports(module)}))

    readers = {module for module in source.modules("libs", "services") if reads_environment(module)}
    assert {m for m in readers if m.name != "settings.py" and not in_folder(m, "libs/local_stack")} == set()


def test_tests_speak_to_a_gateway_only_through_clients_that_check() -> None:
    """What reaches a test past tests/clients.py is compared with nothing."""
    unchecked = {"websockets.asyncio.client", "libs.client.connection.open_client"}
    modules = {module for module in source.modules("tests") if unchecked & source.imports(module)}
    assert {str(module) for module in modules} == {"tests/clients.py"}


def test_the_contract_needs_only_msgspec() -> None:
    """Whoever speaks the contract or publishes it, in whatever process, needs nothing else."""
    modules = source.modules("libs/contract", "libs/contract_docs")
    needed = {name for module in modules for name in source.packages(module)}
    assert needed - set(sys.stdlib_module_names) == {"libs", "msgspec"}


@pytest.mark.parametrize("service", source.services())
def test_a_service_declares_every_package_that_it_imports(service: str) -> None:
    """Also what it imports through libs: its container holds nothing else."""
    modules = source.reached(source.modules(f"services/{service}"))
    imported = {name for module in modules for name in source.packages(module)} - set(sys.stdlib_module_names) - OURS
    distributions = importlib.metadata.packages_distributions()
    needed = {canonicalize_name(distributions[name][0]) for name in imported}
    assert needed - declared(f"services/{service}/pyproject.toml") == set()


def declared(pyproject: str) -> set[str]:
    project = tomllib.loads((source.ROOT / pyproject).read_text())["project"]
    return {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
