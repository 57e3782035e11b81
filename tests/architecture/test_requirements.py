"""The requirements files: pinned, hashed, in agreement, and free of addresses."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import bootstrap
from tests.architecture import source

FILES = sorted({*bootstrap.RUN, *bootstrap.DEV})
PINNED_FROM = {
    "requirements-dev.txt": "pyproject.toml",
    "libs/local_stack/requirements.txt": "libs/local_stack/pyproject.toml",
    **{f"services/{name}/requirements.txt": f"services/{name}/pyproject.toml" for name in source.services()},
}


def entries(file: str) -> list[str]:
    """Each requirement with its hashes, on one line."""
    text = (source.ROOT / file).read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [line for line in lines if not line.lstrip().startswith("#")]


def pins(file: str) -> dict[str, Requirement]:
    requirements = [Requirement(entry.partition(" --hash=")[0].strip()) for entry in entries(file)]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_is_pinned_and_hashed(file: str) -> None:
    """Nothing else may be installed than what was locked."""
    one = re.compile(r"[\w.\[\],-]+==[\w.!+]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry for entry in entries(file) if not one.fullmatch(entry)] == []


@pytest.mark.parametrize("file", FILES)
def test_no_requirements_file_names_an_address(file: str) -> None:
    """Whose index is asked is the business of the machine that installs."""
    text = (source.ROOT / file).read_text(encoding="utf-8")
    assert re.findall(r"\S*(?:://|--index|--find-links|--trusted-host)\S*", text) == []


@pytest.mark.parametrize("file", bootstrap.RUN)
def test_development_holds_all_that_runs_at_the_same_versions(file: str) -> None:
    """So what is tested is what runs, and `scripts/up` after `scripts/test` installs nothing."""
    development = {name: pin for part in bootstrap.DEV for name, pin in pins(part).items()}
    differing = {name for name, pin in pins(file).items() if str(pin.specifier) != str(development[name].specifier)}
    assert differing == set()


@pytest.mark.parametrize(("file", "pyproject"), PINNED_FROM.items())
def test_every_declared_dependency_is_pinned_as_declared(file: str, pyproject: str) -> None:
    """Otherwise `scripts/lock` was forgotten."""
    content = tomllib.loads((source.ROOT / pyproject).read_text(encoding="utf-8"))
    lines = [*content["project"]["dependencies"], *content.get("dependency-groups", {}).get("dev", [])]
    pinned = pins(file)

    def satisfied(wanted: Requirement) -> bool:
        pin = pinned.get(canonicalize_name(wanted.name))
        return pin is not None and wanted.specifier.contains(str(pin.specifier).removeprefix("=="))

    assert [line for line in lines if not satisfied(Requirement(line))] == []


def test_bootstrap_knows_the_file_of_every_service() -> None:
    """A new service must be installed by `scripts/up` too."""
    services = {f"services/{name}/requirements.txt" for name in source.services()}
    assert {file for file in bootstrap.RUN if file.startswith("services/")} == services
