"""The processes of this repository, as the launcher starts them: `services.<name>.main`, with what that one needs."""

import sys
from collections.abc import Mapping, Sequence

from libs.local_stack import alone, readiness
from libs.local_stack.processes import Layer, Program

# A person who presses Ctrl-C waits no longer than this for a running answer; the next start takes it up again.
GRACE_SECONDS = "3"
# structlog imports rich where it finds it (0.2 s of a core at each start, 4 MiB), nats-py aiohttp (0.2 s, 7 MiB).
NOT_NEEDED = ("rich", "aiohttp")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)


def command(service: str) -> list[str]:
    """The command that runs `services.<service>.main`."""
    return python(f"services.{service}.main")


def python(module: str, *, absent: Sequence[str] = NOT_NEEDED) -> list[str]:
    """The command that runs one of this repository's modules; it does not see the packages that are `absent`."""
    return [sys.executable, "-m", alone.__name__, module, *absent]


def chat_worker(name: str, port: int, env: Mapping[str, str]) -> Program:
    """A chat worker with its probes on `port`."""
    return Program(
        name=name,
        layer=Layer.WORKER,
        command=command("chat_worker"),
        env={
            "CHAT_WORKER_GRACE_SECONDS": GRACE_SECONDS,
            **env,
            "CHAT_WORKER_HOST": "127.0.0.1",
            "CHAT_WORKER_PORT": str(port),
            "LOG_FORMAT": "json",
        },
        url=f"http://127.0.0.1:{port}",
        ready=readiness.http_ok(port, "/readyz"),
        stop_seconds=10,
    )


def monitor_agent(name: str, port: int, env: Mapping[str, str]) -> Program:
    """The monitor agent of this machine, with its probes on `port`."""
    return Program(
        name=name,
        layer=Layer.WORKER,
        command=command("monitor_agent"),
        env={**env, "MONITOR_AGENT_HOST": "127.0.0.1", "MONITOR_AGENT_PORT": str(port), "LOG_FORMAT": "json"},
        url=f"http://127.0.0.1:{port}",
        ready=readiness.http_ok(port, "/readyz"),
        stop_seconds=5,
    )


def task_service(name: str, port: int, env: Mapping[str, str]) -> Program:
    """A task service with its probes on `port`."""
    return Program(
        name=name,
        layer=Layer.WORKER,
        command=command("task_service"),
        env={**env, "TASK_SERVICE_HOST": "127.0.0.1", "TASK_SERVICE_PORT": str(port), "LOG_FORMAT": "json"},
        url=f"http://127.0.0.1:{port}",
        ready=readiness.http_ok(port, "/readyz"),
        stop_seconds=10,
    )


def gateway(name: str, host: str, port: int, env: Mapping[str, str]) -> Program:
    """A gateway that clients reach on `host` and `port`."""
    # The address at which this machine itself reaches it.
    here = readiness.LOOPBACK if host in EVERYWHERE else host
    return Program(
        name=name,
        layer=Layer.GATEWAY,
        command=command("gateway"),
        env={**env, "GATEWAY_HOST": host, "GATEWAY_PORT": str(port), "LOG_FORMAT": "json"},
        url=f"ws://{f'[{here}]' if ':' in here else here}:{port}/ws",
        ready=readiness.http_ok(port, "/readyz", host=here),
        stop_seconds=10,
    )
