"""`scripts/bench`: how fast this system is, side by side with others, on this machine.

Loopback only, under 15 minutes, nothing but this machine's processes. No number makes it fail: exit code 1 means that
something was lost, repeated or out of order, or that a process has ended by itself.
"""

import argparse
import asyncio
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import uvloop

from bench import machine, report
from bench.run import LOADS, PEERS, Bench, Wanted


def main() -> int:
    arguments = _arguments()
    wanted = Wanted(
        only=_names(arguments.only) or LOADS,
        peers=_names(arguments.peers) or PEERS,
        database=arguments.database,
        quick=arguments.quick,
        rounds=arguments.rounds or (1 if arguments.quick else 3),
    )
    _allow_many_connections()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    described = {**machine.description(), **wanted._asdict(), "loadBefore": machine.load()}
    bench = Bench(wanted, folder)
    stopped = False
    try:
        uvloop.run(_run(bench))
    except asyncio.CancelledError:
        report.say("\nstopped; everything that was started has ended")
        stopped = True
    described["loadAfter"] = machine.load()
    if bench.readings:
        report.show(bench.readings, _title(described))
    if arguments.json is not None:
        report.write(arguments.json, bench.readings, bench.faults, described)
    if bench.faults:
        report.say(f"logs: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if bench.faults or stopped else 0


async def _run(bench: Bench) -> None:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)
    try:
        await bench.run()
    except Exception:  # noqa: BLE001 (the edge: what was measured until then is shown all the same)
        bench.faults.append("the run ended early")
        report.say(f"the run ended early:\n{traceback.format_exc()}")


def _title(described: dict[str, object]) -> str:
    return (
        f"{described['cores']} × {described['cpu']}, {described['system']}, Python {described['python']}, "
        f"{described['database']}, commit {described['commit']}; "
        f"load {described['loadBefore']} → {described['loadAfter']}"
    )


def _allow_many_connections() -> None:
    """As many open files as this user may have; children inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,…", help=f"only these loads: {', '.join(LOADS)}")
    parser.add_argument("--peers", default="", metavar="NAME,…", help=f"only these: {', '.join(PEERS)}")
    parser.add_argument("--database", choices=["sqlite", "mariadb"], default="sqlite")
    parser.add_argument("--rounds", type=int, help="how often each chat load is run (3)")
    parser.add_argument("--quick", action="store_true", help="one round, and less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    for option, chosen, known in (("only", arguments.only, LOADS), ("peers", arguments.peers, PEERS)):
        if unknown := set(_names(chosen)) - set(known):
            parser.error(f"--{option} knows no {', '.join(sorted(unknown))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
