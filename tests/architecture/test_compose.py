"""docker-compose.yml and the Dockerfile know every service, and nothing that is not there."""

import re
from pathlib import Path

import pytest

from libs.local_stack import broker
from tests.architecture import source

# A service of the file: its name, and the lines below it.
BLOCK = re.compile(r"^  (\w+):\n((?:    .*\n|\n|  #.*\n)+)", re.MULTILINE)
COPIED = re.compile(r"^COPY (\S+) \1$", re.MULTILINE)


def read(name: str) -> str:
    return (source.ROOT / name).read_text(encoding="utf-8")


def blocks() -> dict[str, str]:
    _, _, rest = read("docker-compose.yml").partition("\nservices:\n")
    return dict(BLOCK.findall(rest.partition("\nconfigs:")[0]))


def copied() -> set[str]:
    """The folders of this repository that the Dockerfile names."""
    return set(COPIED.findall(read("Dockerfile")))


def test_every_service_has_a_container_of_its_own_name_and_image() -> None:
    """The same word everywhere."""
    built = {name: re.findall(r"target: service, args: { SERVICE: (\w+) }", block) for name, block in blocks().items()}
    assert {name: services for name, services in built.items() if services} == {
        name: [name] for name in source.services()
    }


@pytest.mark.parametrize("service", source.services())
def test_the_image_of_a_service_holds_every_lib_that_it_imports(service: str) -> None:
    """And its own folder."""
    needed = {Path(*module.parts[:2]) for module in source.reached(source.modules(f"services/{service}"))}
    in_image = {Path(folder.replace("${SERVICE}", service)) for folder in copied()}
    inits = {Path("libs/__init__.py"), Path("services/__init__.py")}
    assert needed - in_image - inits == set()


def test_provisioning_has_the_migrations_of_every_service() -> None:
    """A database without its schema would be found out only when it is used."""
    there = {str(path.parent.relative_to(source.ROOT)) for path in source.ROOT.glob("services/*/migrations/env.py")}
    assert {folder for folder in copied() if folder.endswith("/migrations")} == there


def test_every_database_of_a_service_is_made() -> None:
    """MariaDB starts with none."""
    made = re.findall(r"CREATE DATABASE (\w+) CHARACTER SET utf8mb4;", read("deploy/mariadb.sql"))
    assert made == [path.parent.name for path in sorted(source.ROOT.glob("services/*/migrations"))]


def test_the_broker_has_the_same_settings_in_a_container() -> None:
    """What is accepted is on disk, whoever started the broker."""
    settings = re.compile(r"(?:server_name|max_payload|sync_interval|js_ack_fc_v2): \w+")
    by_scripts_up = broker.CONFIGURATION.format(port=0, password="", store='""')
    assert set(settings.findall(read("deploy/nats.conf"))) == set(settings.findall(by_scripts_up))
