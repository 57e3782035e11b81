"""`scripts/chaos`: proves from outside that nothing accepted is lost, nothing is doubled, and every stream ends.

Starts the real processes with a scripted model server, lets clients use them while a seeded schedule kills, freezes,
restarts and cuts, and checks every promise when all has come to rest. Exit code 0: all have held; 1: not.
"""

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos import report
from tests.chaos.journal import Journal
from tests.chaos.run import Wanted, run
from tests.chaos.schedule import ACTIONS, GAP_SECONDS
from tests.chaos.world import Shape, World


def main() -> int:
    arguments = _arguments()
    # Half of all seeds have a second model server.
    fallback = arguments.seed % 2 == 1 if arguments.fallback is None else arguments.fallback
    shape = Shape(arguments.database, arguments.nats, arguments.gateways, arguments.workers, fallback)
    only = tuple(kind for kind in arguments.only.split(",") if kind)
    wanted = Wanted(
        minutes=arguments.minutes,
        seed=arguments.seed,
        only=only,
        shape=shape,
        askers=arguments.askers,
        tabs=arguments.tabs,
        gap=arguments.gap,
        resume=not arguments.without_resume,
    )
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    held = False
    try:
        held = asyncio.run(_run(wanted, folder))
    except asyncio.CancelledError:
        report.say("\nstopped; everything that was started has ended")
        shutil.rmtree(folder)
        return 1
    if held and not arguments.keep:
        shutil.rmtree(folder)
    else:
        report.say(f"logs and data: {folder}")
    return 0 if held else 1


async def _run(wanted: Wanted, folder: Path) -> bool:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)
    journal = Journal()
    world = World(folder, wanted.shape, journal)
    report.say(f"{_command(wanted)}\nfiles in {folder}")
    whole = False
    try:
        await run(wanted, world, journal)
        whole = True
    except Exception:  # noqa: BLE001 (the edge: what was seen until then is told all the same)
        report.say(f"the run ended early:\n{traceback.format_exc()}")
    finally:
        await world.close()
    report.summary(journal, world)
    if not whole and not journal.violations:
        report.say(f"\nNothing is proven: the run ended early.  {_command(wanted)}")
        return False
    return report.verdict(journal, world, command=_command(wanted)) and whole


def _command(wanted: Wanted) -> str:
    """The same run once more."""
    shape = wanted.shape
    options = f"--minutes {wanted.minutes:g} --seed {wanted.seed} --database {shape.database} --nats {shape.nats}"
    options += f" --gateways {shape.gateways} --workers {shape.workers}"
    options += " --fallback" if shape.fallback else " --no-fallback"
    options += f" --only {','.join(wanted.only)}" if wanted.only else ""
    return f"scripts/chaos {options}" + ("" if wanted.resume else " --without-resume")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3, help="how long faults go on; the run takes a minute more")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="plays the same faults again")
    parser.add_argument("--only", default="", help=f"only faults of these kinds, by commas: {', '.join(ACTIONS)}")
    parser.add_argument("--database", choices=["sqlite", "mariadb"], default="sqlite")
    parser.add_argument("--nats", type=int, choices=[1, 3], default=1, help="one server, or a cluster of three")
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    fallback = argparse.BooleanOptionalAction
    parser.add_argument("--fallback", action=fallback, help="workers have a second model server; else the seed says")
    parser.add_argument("--askers", type=int, default=5, help="clients that chat")
    parser.add_argument("--tabs", type=int, default=3, help="clients that join answers of others")
    parser.add_argument("--gap", type=float, default=GAP_SECONDS, help="seconds between two faults, on the average")
    parser.add_argument("--without-resume", action="store_true", help="clients repeat their request instead")
    parser.add_argument("--keep", action="store_true", help="keep logs and data also when all went well")
    arguments = parser.parse_args()
    unknown = set(filter(None, arguments.only.split(","))) - set(ACTIONS)
    if unknown:
        parser.error(f"--only knows no {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
