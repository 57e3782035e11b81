"""The processes of this repository, as the launcher starts them: `python -m services.<name>.main`."""

import sys
from collections.abc import Mapping

from libs.local_stack import readiness
from libs.local_stack.processes import Layer, Program

# A person who presses Ctrl-C waits no longer than this for a running answer; the next start takes it up again.
GRACE_SECONDS = "3"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared with, not listened on)


def chat_worker(name: str, port: int, env: Mapping[str, str]) -> Program:
    """A chat worker with its probes on `port`."""
    return Program(
        name=name,
        layer=Layer.WORKER,
        command=[sys.executable, "-m", "services.chat_worker.main"],
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
        command=[sys.executable, "-m", "services.monitor_agent.main"],
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
        command=[sys.executable, "-m", "services.task_service.main"],
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
        command=[sys.executable, "-m", "services.gateway.main"],
        env={**env, "GATEWAY_HOST": host, "GATEWAY_PORT": str(port), "LOG_FORMAT": "json"},
        url=f"ws://{f'[{here}]' if ':' in here else here}:{port}/ws",
        ready=readiness.http_ok(port, "/readyz", host=here),
        stop_seconds=10,
    )
