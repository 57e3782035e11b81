"""Monitor agent: one on each host, which tells how that host stands.

operating system ── Sampler ──▶ Sampling ── `metrics` frame ──▶ monitoring.v1.host.<host>.sampled
                                  ▲   └─▶ History ─▶ Valkey
NATS ── monitoring.v1.demand, monitoring.v1.host.<host>.demand ──┘
NATS ◀─▶ monitoring.v1.query.* ─▶ Questions ─▶ Valkey, stream MONITORING   (any one agent, for all hosts)
"""

import structlog
from redis.asyncio import Redis
from starlette.applications import Starlette

from libs.bus.connection import Bus, BusUnavailable, connect
from libs.bus.last_values import last_value
from libs.contract import streams, subjects
from libs.contract.monitoring import Metrics
from libs.runtime.logs import configure_logs
from libs.runtime.probes import probe_routes
from libs.runtime.process import Process, run
from libs.runtime.serving import serve
from libs.runtime.settings import load
from services.monitor_agent import metrics
from services.monitor_agent.demands import Demands
from services.monitor_agent.history import VALKEY_SECONDS, History
from services.monitor_agent.own_thread import OwnThread
from services.monitor_agent.questions import Questions
from services.monitor_agent.readings.gpus import load_nvml
from services.monitor_agent.sampler import Sampler
from services.monitor_agent.sampling import Sampling
from services.monitor_agent.settings import Settings

log = structlog.get_logger(__name__)


async def monitor_agent(settings: Settings, process: Process) -> None:
    host = settings.shown_host
    thread = OwnThread("sampler")
    sampler = await thread.run(
        lambda: Sampler(host, host_root=settings.host_root, lm_studio_url=settings.lm_studio_url, nvml=load_nvml())
    )

    async def take_sample(interval_seconds: int) -> Metrics:
        return await thread.run(lambda: sampler.sample(interval_seconds))

    # Opened top to bottom, closed bottom to top: stop listening, hang up.
    async with (
        Redis.from_url(
            settings.valkey_url, socket_connect_timeout=VALKEY_SECONDS, socket_timeout=VALKEY_SECONDS
        ) as valkey,
        connect(settings.nats_url, name=f"monitor_agent {host}") as bus,
    ):
        history = History(valkey, host)
        sampling = Sampling(bus, take_sample, history, host=host, demands=Demands(settings.interval_seconds))
        questions = Questions(bus, history)
        publish_metrics(history, bus)

        process.keep_running(bus.until_lost(), name="bus")
        process.keep_running(sampling.run(), name="sampling")
        process.keep_running(history.write_forever(), name="history")
        async with (
            bus.listening(subjects.MONITORING_DEMAND_ALL, sampling.hear_demand),
            bus.listening(subjects.monitoring_demand(host), sampling.hear_demand),
            bus.serving(subjects.MONITORING_QUERY_ALL, questions.answer, queue="monitor_agent"),
        ):
            await serve(
                Starlette(
                    routes=probe_routes(
                        process,
                        needs={"nats": bus.ping, "sampling": sampling.ping},
                        likes={
                            "valkey": history.ping,
                            "stream": lambda: last_value(bus, streams.MONITORING, subjects.monitoring_sampled(host)),
                        },
                    )
                ),
                process,
                host=settings.host,
                port=settings.port,
            )


def publish_metrics(history: History, bus: Bus) -> None:
    metrics.HISTORY_WAITING.set_function(lambda: history.waiting)
    metrics.BUS_RECONNECTS.set_function(lambda: bus.reconnects)


def main() -> None:
    settings = load(Settings)
    configure_logs("monitor_agent", log_format=settings.log_format, level=settings.log_level)
    log.info(
        "starting", shown_host=settings.shown_host, **settings.model_dump(include={"host", "port", "interval_seconds"})
    )
    run(lambda process: monitor_agent(settings, process), cannot_start=(BusUnavailable,))


if __name__ == "__main__":
    main()
