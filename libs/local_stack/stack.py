"""The stack as a whole: what is started, in which order, with what.

nats, valkey ──┬─▶ provisioning (once) ─────────────────────────────┐
               ├─▶ model, chat workers, monitor agent, task service ┼──▶ all ready
               └─▶ gateways ────────────────────────────────────────┘

All at once: importing their code is most of the start (1.5 s of processor time each), and each waits for what it needs.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from libs.local_stack import broker, builtin_model, cache, lm_studio_probe, ports, services
from libs.local_stack.data_folder import DataFolder
from libs.local_stack.lm_studio_probe import ModelChoice
from libs.local_stack.processes import Layer, Program
from libs.local_stack.supervisor import Supervisor

PROVISIONING_SECONDS = 60.0
DEFAULT_GATEWAY_HOST = "127.0.0.1"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the person asked for."""

    port: int
    data: Path
    gateways: int
    workers: int
    builtin_model: bool


class Stack:
    """Started once, by `start`; the supervisor stops it."""

    def __init__(self, options: Options, env: Mapping[str, str], folder: DataFolder, supervisor: Supervisor) -> None:
        self._options = options
        self._folder = folder
        self._supervisor = supervisor
        self._host = env.get("GATEWAY_HOST") or DEFAULT_GATEWAY_HOST
        self._env = dict(env)
        self._gateway_ports = range(options.port, options.port + options.gateways)
        nats, valkey, model, monitor, tasks, *workers = ports.free_ports(5 + options.workers, but=self._gateway_ports)
        self._model_port = model
        self._monitor_port = monitor
        self._task_service_port = tasks
        self._worker_ports = workers
        self._broker = broker.program(folder, nats, self._env)
        self._cache = cache.program(folder, valkey, self._env)

    async def start(self) -> ModelChoice:
        """Start everything and wait until it is ready. Raises StartError; what had started is then still running."""
        for port in self._gateway_ports:
            ports.check_free(self._host, port)
        self._supervisor.start(self._broker, self._cache)
        choice = await lm_studio_probe.choose(self._env, builtin=self._options.builtin_model)
        self._env |= {"NATS_URL": self._broker.url, "VALKEY_URL": self._cache.url}
        for service in ("chat_worker", "task_service"):
            name = f"{service.upper()}_DATABASE_URL"
            self._env[name] = self._env.get(name) or self._folder.database_url(service)
        await self._supervisor.ready(self._broker, self._cache)
        # Beside the provisioning step, which takes as long as they do to import: a worker waits for its stream.
        self._env["LM_STUDIO_URL"] = choice.url or self._start_builtin_model()
        self._supervisor.start(*self._chat_workers())
        self._supervisor.start(services.monitor_agent("monitor_agent", self._monitor_port, self._env))
        self._supervisor.start(services.task_service("task_service", self._task_service_port, self._env))
        self._supervisor.start(*self._gateways())
        await self._provision()
        await self._supervisor.ready()
        self._supervisor.publish()
        return choice

    def _start_builtin_model(self) -> str:
        # They speak of the server that is not there; the built-in one has no such model and asks for no key.
        for name in ("LM_STUDIO_MODEL", "LM_STUDIO_API_KEY"):
            self._env.pop(name, None)
        program = builtin_model.program(self._model_port, self._env)
        self._supervisor.start(program)
        return program.url

    async def _provision(self) -> None:
        program = Program(
            name="provisioning",
            layer=Layer.WORKER,
            command=services.python("libs.provisioning"),
            env=self._env,
            url="",
            ready=lambda: asyncio.sleep(0, True),
            stop_seconds=1,
        )
        await self._supervisor.run_once(program, seconds=PROVISIONING_SECONDS)

    def _chat_workers(self) -> list[Program]:
        return [
            services.chat_worker(f"chat_worker-{number}", port, self._env)
            for number, port in enumerate(self._worker_ports, start=1)
        ]

    def _gateways(self) -> list[Program]:
        return [
            services.gateway(f"gateway-{number}", self._host, port, self._env)
            for number, port in enumerate(self._gateway_ports, start=1)
        ]
