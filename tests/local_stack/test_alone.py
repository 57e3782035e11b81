"""A module is run without packages that are there, but not needed."""

import subprocess
import sys

import pytest

from libs.local_stack import services
from libs.local_stack.processes import ROOT, Program

ENV = {"PATH": ""}


@pytest.mark.parametrize(
    "program",
    [
        services.chat_worker("chat_worker", 1, ENV),
        services.monitor_agent("monitor_agent", 2, ENV),
        services.task_service("task_service", 3, ENV),
        services.gateway("gateway", "127.0.0.1", 4, ENV),
    ],
    ids=lambda program: program.name,
)
def test_what_a_service_does_not_see_it_does_not_require(program: Program) -> None:
    """Else it would run in its container and fail here."""
    absent = program.command[4:]
    required = (ROOT / "services" / program.name / "requirements.txt").read_text().splitlines()
    assert absent
    assert [line for line in required if line.startswith(tuple(f"{package}==" for package in absent))] == []


def test_an_absent_package_cannot_be_imported_and_the_others_can() -> None:
    """As the libraries find out which ask for it."""
    usual, alone = (imports_of("structlog", *absent) for absent in ((), ("rich",)))
    assert "rich.console" in usual - alone
    assert "structlog.dev" in usual & alone


def imports_of(module: str, *absent: str) -> set[str]:
    """What is imported when the module is run."""
    command = [sys.executable, "-X", "importtime", "-m", "libs.local_stack.alone", module, *absent]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    return {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
