"""Structured logs: JSON for machines, readable lines on a terminal; the same fields either way.

Every line has `service`; lines about a request have `request_id` (bound by `structlog.contextvars`), so that one
grep follows a message through all processes. Message texts are never logged.
"""

import logging
import sys
from typing import Literal

import structlog

LogFormat = Literal["auto", "json", "console"]


def configure_logs(service: str, *, log_format: LogFormat = "auto", level: str = "INFO") -> None:
    """Sends structlog's and the standard library's records (uvicorn, alembic …) to standard error, one line each."""
    readable = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _named(service),
    ]
    rendering: list[structlog.typing.Processor] = (
        # Plain: the renderer's own tracebacks (with `rich`) show local variables, message texts among them.
        [structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=structlog.dev.plain_traceback)]
        if readable
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # They tell of every request and every ping, at INFO.
    for chatty in ("httpx", "httpcore", "uvicorn", "uvicorn.error", "websockets", "nats", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _named(service: str) -> structlog.typing.Processor:
    def add_service(
        _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add_service
