"""The model that runs where nobody has LM Studio, as a child process of the launcher."""

import sys
from collections.abc import Mapping

from libs.local_stack import readiness
from libs.local_stack.model_weights import weights
from libs.local_stack.processes import Layer, Program


def program(port: int, env: Mapping[str, str]) -> Program:
    """The model server, an OpenAI-compatible one. Raises StartError without its weights."""
    weights()
    return Program(
        name="model",
        layer=Layer.MODEL,
        command=[sys.executable, "-m", "libs.local_stack.model_server", readiness.LOOPBACK, str(port)],
        env=env,
        url=f"http://127.0.0.1:{port}/v1",
        ready=readiness.http_ok(port, "/health"),
        stop_seconds=2,
    )
