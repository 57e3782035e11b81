"""The way from a bare clone to an environment, with a tiny package in place of the real ones."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from scripts import bootstrap
from tests.architecture.source import ROOT

METADATA = "tiny-1.0.dist-info"


def run(clone: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command],
        cwd=clone,
        env={**os.environ, **env},  # noqa: TID251 (children need PATH and the like)
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def install(clone: Path) -> subprocess.CompletedProcess[str]:
    """`scripts/install run` where the only packages are those in the clone's own folder `wheels`."""
    return run(clone, "scripts/install", "run", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(clone / "wheels"))


def wheel(folder: Path) -> Path:
    """A package that holds one module."""
    folder.mkdir(exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr(f"{METADATA}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{METADATA}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{METADATA}/RECORD", "")
    return path


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose requirements are that package."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    digest = hashlib.sha256(wheel(tmp_path / "wheels").read_bytes()).hexdigest()
    for name in {*bootstrap.RUN, *bootstrap.DEV}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    return tmp_path


@pytest.mark.thorough
def test_an_installation_is_made_once_and_a_failure_is_said_with_the_last_words_of_pip(clone: Path) -> None:
    """Two scripts at once share it, and an unchanged start is silent."""
    script = ["scripts/install", "run"]
    env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(clone / "wheels")}  # noqa: TID251 (as above)
    both = [subprocess.Popen(script, cwd=clone, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=50)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert [text.count("Installing 1 packages") for text in said] == [0, 1]
    assert run(clone, ".venv/bin/python", "-c", "import tiny").returncode == 0
    assert install(clone).stdout == ""

    changed = clone / bootstrap.MODEL
    changed.write_text(changed.read_text().replace("tiny", "missing"))
    failed = install(clone)
    assert failed.returncode == 1
    assert failed.stderr.startswith("pip could not install the packages (is there a network?). Its last words:\n")
    assert "No matching distribution found for missing==1.0" in failed.stderr
    assert (clone / ".venv" / "unfinished").exists()


def test_an_installation_that_was_cut_off_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip may have been stopped anywhere, so `.venv` is then made anew: half a package is no package."""
    for name in ("STAMP", "UNFINISHED", "PYTHON"):
        monkeypatch.setattr(bootstrap, name, tmp_path / name)
    bootstrap.PYTHON.touch()
    bootstrap.STAMP.write_text('{"run": "a fingerprint", "python": "3.11.7"}')
    assert bootstrap.installed() == {"run": "a fingerprint", "python": "3.11.7"}
    bootstrap.UNFINISHED.touch()
    assert bootstrap.installed() == {}


def test_without_a_suitable_python_there_is_one_sentence(tmp_path: Path) -> None:
    """Also where a version manager has put a `python3` on PATH that does not run."""
    shim = tmp_path / "python3"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    dirname = shutil.which("dirname")
    assert dirname is not None
    (tmp_path / "dirname").symlink_to(dirname)
    refused = run(tmp_path, str(ROOT / "scripts" / "install"), "run", PATH=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.startswith("Orquestrador needs Python 3.11, 3.12 or 3.13, and none is on PATH: install one")


@pytest.mark.parametrize(
    ("name", "version", "sentence"),
    [("", "", "has no glibc"), ("glibc", "2.17", "glibc 2.17 is too old"), ("libc", "", "has no glibc")],
)
def test_a_system_without_the_right_libc_is_refused(name: str, version: str, sentence: str) -> None:
    """No ready-made broker exists for it."""
    with pytest.raises(bootstrap.BootstrapError, match=sentence):
        bootstrap.check_glibc(name, version)


def test_windows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to use instead."""
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(bootstrap.BootstrapError, match="use Linux, macOS or WSL 2"):
        bootstrap.check_platform()


def test_a_python_without_venv_names_the_package_to_install(clone: Path, tmp_path: Path) -> None:
    """Debian ships it apart; these are the first words of what its Python says then."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    said = "The virtual environment was not created successfully because ensurepip is not available."
    (hidden / "venv.py").write_text(f"raise SystemExit({said!r})")
    refused = run(clone, "scripts/install", "run", PYTHONPATH=str(hidden))
    assert refused.returncode == 1
    assert refused.stderr.startswith("This Python has no venv module: install it (on Debian or Ubuntu: apt install")
