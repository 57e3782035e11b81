"""The LiteLLM proxy: what people put before their models today. In a venv of its own, made when first needed."""

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import parts, report
from bench.answers import SseAnswer
from bench.peers.peer import PeerMissing
from libs.local_stack.ports import free_ports
from tests.chaos import servers
from tests.chaos.part import Part

VERSION = "1.106.2"
VENV = Path(__file__).resolve().parent.parent / ".venvs" / f"litellm-{VERSION}"
INSTALL_SECONDS = 400
START_SECONDS = 120

SETTINGS = {
    # It would otherwise fetch a price list, and report that it was started.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    # It listens on loopback, as everything here does, and nobody else asks for keys either.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


class LiteLlm:
    """One worker process, as it comes."""

    name = "LiteLLM"

    def __init__(self, folder: Path, model_port: int) -> None:
        (self._port,) = free_ports(1)
        to_model = {"model": "openai/*", "api_base": f"http://127.0.0.1:{model_port}/v1", "api_key": "none"}
        configuration = folder / "litellm.yaml"
        # JSON is YAML.
        configuration.write_text(json.dumps({"model_list": [{"model_name": "*", "litellm_params": to_model}]}))
        command = [str(VENV / "bin" / "litellm"), "--config", str(configuration)]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--telemetry", "False"]
        env = {**servers.inherited(), **SETTINGS}
        ready = servers.answers(f"http://127.0.0.1:{self._port}/health/liveliness")
        self.parts: Sequence[Part] = [Part("litellm", "litellm", command, env=env, folder=folder, ready=ready)]

    async def open(self) -> None:
        """Installs it if it is not there yet. Raises `PeerMissing` if that cannot be done."""
        if not (VENV / "installed").exists():
            await _install()
        self.parts[0].start()
        try:
            await self.parts[0].until_ready(START_SECONDS, revived=False)
        except TimeoutError as error:
            raise PeerMissing(f"LiteLLM {VERSION} does not start here:\n{str(error)[-500:]}") from error

    async def close(self) -> None:
        await parts.stop(self.parts)

    def answer(self, _number: int) -> SseAnswer:
        return SseAnswer(self._port)


async def _install() -> None:
    report.say(f"installing LiteLLM {VERSION} into a venv of its own, once; it takes a minute or two …")
    shutil.rmtree(VENV, ignore_errors=True)
    python = str(VENV / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(VENV)], [*pip, f"litellm[proxy]=={VERSION}"]):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(INSTALL_SECONDS):
                told, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            raise PeerMissing(f"LiteLLM {VERSION} was not installed within {INSTALL_SECONDS} s") from error
        if process.returncode != 0:
            last = told.decode(errors="replace").strip().splitlines()[-1:]
            raise PeerMissing(f"LiteLLM {VERSION} cannot be installed here: {' '.join(last)}")
    (VENV / "installed").touch()
