"""No child outlives a launcher that was killed with SIGKILL."""

import os
import signal
import subprocess
import sys

import pytest

from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import ROOT
from tests.waiting import alive, wait_until

LAUNCHER = """
import asyncio, pathlib, sys
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.processes import Leash
from libs.local_stack.supervisor import Supervisor
from tests.local_stack import programs

async def main() -> None:
    folder = DataFolder(pathlib.Path(sys.argv[1]))
    folder.claim()
    supervisor = Supervisor(folder, Leash(use_guard=sys.argv[2] == "guard", keep_open=folder.inherited), print)
    supervisor.start(programs.python("one", programs.STAY_ANYWAY), programs.python("two", programs.STAY))
    while len(supervisor.running()) < 2:
        await asyncio.sleep(0.01)
    supervisor.publish()
    print(*(running.pid for running in supervisor.running().values()), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "bond",
    [
        pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PDEATHSIG")),
        "guard",
    ],
)
def test_children_end_with_a_launcher_that_is_killed(bond: str, folder: DataFolder) -> None:
    """By the kernel on Linux, by the guard process elsewhere; then the folder is free for the next launcher."""
    folder.release()
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder.root), bond], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert launcher.stdout is not None
        children = [int(pid) for pid in launcher.stdout.readline().split()]
        assert [alive(pid) for pid in children] == [True, True]
    finally:
        os.kill(launcher.pid, signal.SIGKILL)
        launcher.communicate()
    assert folder.stack.exists()
    folder.claim()
    wait_until(lambda: not any(alive(pid) for pid in children))
    assert not folder.stack.exists()
