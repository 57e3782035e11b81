"""The processes of this repository, as the launcher starts them: `python -m services.<name>.main`."""

import sys
from collections.abc import Mapping

from libs.local_stack import readiness
from libs.local_stack.processes import Program

# A person who presses Ctrl-C waits no longer than this for a running answer; the next start takes it up again.
GRACE_SECONDS = "3"


def chat_worker(name: str, port: int, env: Mapping[str, str]) -> Program:
    """A chat worker with its probes on `port`."""
    return Program(
        name=name,
        command=[sys.executable, "-m", "services.chat_worker.main"],
        env={
            "CHAT_WORKER_GRACE_SECONDS": GRACE_SECONDS,
            **env,
            "CHAT_WORKER_HOST": "127.0.0.1",
            "CHAT_WORKER_PORT": str(port),
            "LOG_FORMAT": "json",
        },
        url=f"http://127.0.0.1:{port}",
        ready=readiness.http_ok(f"http://127.0.0.1:{port}/readyz"),
        stop_seconds=10,
    )


def gateway(name: str, host: str, port: int, env: Mapping[str, str]) -> Program:
    """A gateway that clients reach on `host` and `port`."""
    address = f"{reachable(host)}:{port}"
    return Program(
        name=name,
        command=[sys.executable, "-m", "services.gateway.main"],
        env={**env, "GATEWAY_HOST": host, "GATEWAY_PORT": str(port), "LOG_FORMAT": "json"},
        url=f"ws://{address}/ws",
        ready=readiness.http_ok(f"http://{address}/readyz"),
        stop_seconds=10,
    )


def reachable(host: str) -> str:
    """The address at which this machine itself reaches a server that listens on `host`."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared with, not listened on)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
