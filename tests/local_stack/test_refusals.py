"""What `scripts/up` says, in one sentence and with exit code 1, when it cannot start."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from libs.local_stack import ports
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import ROOT


def up(data: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher to its end."""
    return subprocess.run(
        [sys.executable, "-m", "libs.local_stack", "--data", str(data), *arguments],
        cwd=ROOT,
        env={**os.environ, **env},  # noqa: TID251 (children need PATH and the like)
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_shows_examples() -> None:
    """Without starting anything."""
    shown = subprocess.run(
        [sys.executable, "-m", "libs.local_stack", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "scripts/up --gateways 2 --workers 2" in shown.stdout


def test_a_taken_port_is_said_with_the_program_to_blame(tmp_path: Path) -> None:
    """Before anything is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = up(tmp_path / "data", "--port", str(port))
    blamed = f" by {psutil.Process().name()} (pid {os.getpid()})" if sys.platform == "linux" else ""
    sentence = f"Port {port} is taken{blamed}: stop that program, or choose another port with --port."
    assert (refused.returncode, refused.stderr.strip()) == (1, sentence)
    assert not (tmp_path / "data" / "logs" / "nats.log").exists()


def test_a_second_launcher_is_refused(folder: DataFolder) -> None:
    """And told who has the folder."""
    refused = up(folder.root)
    sentence = (
        f"The data folder {folder.root} is in use by the stack with pid {os.getpid()}: "
        "stop that one (Ctrl-C), or choose another folder with --data."
    )
    assert (refused.returncode, refused.stderr.strip()) == (1, sentence)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file in its place stands for all reasons (root may write anywhere)."""
    (tmp_path / "data").write_text("")
    refused = up(tmp_path / "data")
    sentence = f"The data folder {tmp_path / 'data'} cannot be written (Not a directory): choose another with --data."
    assert (refused.returncode, refused.stderr.strip()) == (1, sentence)


def test_a_wrong_model_server_is_refused_and_nothing_is_left_running(tmp_path: Path) -> None:
    """What had started by then is stopped again."""
    url = f"http://127.0.0.1:{ports.free_ports(1)[0]}/v1"
    data = tmp_path / "data"
    refused = up(data, "--port", str(ports.free_ports(1)[0]), LM_STUDIO_URL=url)
    sentence = f"LM_STUDIO_URL={url} is not answering: correct it, or use the built-in model with --builtin-model."
    assert (refused.returncode, refused.stderr.strip()) == (1, sentence)
    left = [process.pid for process in psutil.process_iter() if str(data) in " ".join(command_line(process))]
    assert left == []


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--gateways", "0"], ["--port", "65535", "--gateways", "2"]])
def test_impossible_numbers_are_refused(arguments: list[str], tmp_path: Path) -> None:
    """By the argument parser, exit code 2."""
    assert up(tmp_path / "data", *arguments).returncode == 2
