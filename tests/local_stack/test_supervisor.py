"""The supervisor, with real child processes."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from libs.local_stack import supervisor as supervising
from libs.local_stack.data_folder import DataFolder, Running
from libs.local_stack.processes import Layer
from libs.local_stack.start_error import StartError
from libs.local_stack.supervisor import Supervisor
from tests.local_stack import programs
from tests.waiting import alive, until


def log_of(folder: DataFolder, name: str) -> str:
    log = folder.log(name)
    return log.read_text() if log.exists() else ""


async def staying(supervisor: Supervisor, folder: DataFolder, *names: str) -> None:
    """Wait until these programs run and say so."""
    await until(lambda: all("staying" in log_of(folder, name) for name in names))


async def test_a_program_that_dies_is_started_again_after_a_pause_that_doubles(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each death is said in one line, with how it ended and where its log is."""
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    supervisor.start(programs.python("dying", "raise SystemExit(3)"))
    await until(lambda: len(said) >= 3)
    log = supervisor.folder.log("dying")
    pauses = ["0.01", "0.02", "0.04"]
    assert said[:3] == [f"dying has ended (exit code 3); next start in {pause} s, log: {log}" for pause in pauses]


async def test_the_pause_starts_over_after_a_healthy_life(
    supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was fine for a while is not punished for an old death."""
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervising, "HEALTHY_SECONDS", 0.0)
    supervisor.start(programs.python("dying", "raise SystemExit(3)"))
    await until(lambda: len(said) >= 3)
    assert ["in 0.01 s" in line for line in said[:3]] == [True, True, True]


async def test_programs_are_stopped_layer_by_layer_from_the_top(
    supervisor: Supervisor, folder: DataFolder, said: list[str]
) -> None:
    """First those that use the others, in whatever order they were started."""
    for layer in (Layer.GATEWAY, Layer.BROKER, Layer.WORKER):
        supervisor.start(programs.python(layer.name, programs.STAY, layer=layer))
    await staying(supervisor, folder, "GATEWAY", "BROKER", "WORKER")
    await supervisor.stop()
    assert said == ["  GATEWAY stopped", "  WORKER stopped", "  BROKER stopped"]


async def test_a_program_that_will_not_stop_is_killed(
    supervisor: Supervisor, folder: DataFolder, said: list[str]
) -> None:
    """After its own deadline, and that is said."""
    supervisor.start(programs.python("stubborn", programs.STAY_ANYWAY, stop_seconds=0.1))
    await staying(supervisor, folder, "stubborn")
    pid = supervisor.running()["stubborn"].pid
    await supervisor.stop()
    assert said == ["  stubborn stopped (killed: it had not ended within 0.1 s)"]
    assert not alive(pid)


async def test_kill_ends_everything_at_once(supervisor: Supervisor, folder: DataFolder) -> None:
    """What a second Ctrl-C does: no deadline is waited for."""
    supervisor.start(programs.python("stubborn", programs.STAY_ANYWAY, stop_seconds=60))
    await staying(supervisor, folder, "stubborn")
    pid = supervisor.running()["stubborn"].pid
    supervisor.kill()
    async with asyncio.timeout(5):
        await supervisor.stop()
    assert not alive(pid)


async def test_what_a_dead_program_had_started_is_ended_too(supervisor: Supervisor, folder: DataFolder) -> None:
    """No process is left behind, also when its parent has died."""
    code = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {programs.STAY!r}]); "
        "print(f'child {child.pid}.', flush=True)"
    )
    supervisor.start(programs.python("parent", code))
    await until(lambda: "." in log_of(folder, "parent"))
    child = int(log_of(folder, "parent").split("child ")[1].split(".")[0])
    await until(lambda: not alive(child))


async def test_a_program_that_is_not_ready_in_time_is_named_with_the_end_of_its_log(
    supervisor: Supervisor, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to search for the reason."""
    folder.log("slow").write_text("from an earlier start\n")
    supervisor.start(programs.python("slow", programs.STAY, ready=programs.never_ready))
    await until(lambda: "staying" in log_of(folder, "slow"))
    monkeypatch.setattr(supervising, "READY_SECONDS", 0.1)
    with pytest.raises(StartError) as failure:
        await supervisor.ready()
    assert str(failure.value) == (
        f"slow is not ready after 0.1 s. The end of its log {folder.log('slow')}:\n    staying"
    )


async def test_a_program_that_dies_again_and_again_at_the_start_is_given_up_early(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing module does not get better in thirty seconds."""
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    supervisor.start(programs.python("broken", "raise SystemExit('no such thing')", ready=programs.never_ready))
    with pytest.raises(StartError, match=r"broken does not start\. .*\n(    no such thing\n?)+$"):
        await supervisor.ready()


async def test_a_program_that_cannot_be_executed_says_so_in_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    """A missing binary is not a traceback."""
    missing = msgspec.structs.replace(programs.python("missing", ""), command=[str(tmp_path / "nothing")])
    with pytest.raises(StartError, match="nothing cannot be started: No such file or directory"):
        await supervisor.run_once(missing, seconds=5)


async def test_a_step_that_hangs_is_ended(supervisor: Supervisor) -> None:
    """Provisioning has a deadline too."""
    with pytest.raises(StartError, match=r"step has not ended within 0\.5 s"):
        await supervisor.run_once(programs.python("step", programs.STAY), seconds=0.5)


async def test_stack_json_tells_what_runs_also_after_a_restart(
    supervisor: Supervisor, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests and `scripts/try` find the processes by it."""
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    supervisor.start(programs.python("one", programs.STAY))
    await staying(supervisor, folder, "one")
    supervisor.publish()

    def published() -> Running:
        return msgspec.json.decode(folder.stack.read_bytes(), type=dict[str, Running])["one"]

    first = published()
    assert first == Running(supervisor.running()["one"].pid, "http://one", str(folder.log("one")))
    supervisor._keepers[0].process.kill()  # type: ignore[union-attr] # it runs, as published
    await until(lambda: published().pid != first.pid)
    assert alive(published().pid)
