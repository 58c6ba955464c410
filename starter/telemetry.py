"""Logs and metrics of a process: one format for our lines and the libraries' lines, secrets never in them.

`configure_logging` is called once, by `durabill api`, `worker` and `consume`. Modules log by `structlog.get_logger()`
and bind what they work on (`structlog.contextvars`); activities get their ids bound by `LogContext`. Owns no metric of
a domain: those are declared beside the code that counts.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any, Literal

import structlog
from prometheus_client import start_http_server
from temporalio import activity, workflow
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from starter.settings import SECRET_WORDS

Event = MutableMapping[str, Any]

HIDDEN = "********"
_SECRET_KEYS = (*SECRET_WORDS, "authorization", "x-api-key", "dsn", "signature")
BOUND_IDS = ("tenant_id", "environment_id", "customer_id", "subscription_id", "invoice_id", "payment_id", "event_id")
"""Names of an activity's input that are bound to every line which it logs."""

_PASSWORD_IN_URL = re.compile(r"(://[^:@/\s]*:)[^@/\s]+@")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Hides the value of every key that names a secret, at any depth, and passwords in URLs wherever they stand."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: str, value: Any) -> Any:
    if value is not None and any(word in key.lower() for word in _SECRET_KEYS):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(name): _redacted(str(name), item) for name, item in value.items()}
    if isinstance(value, str) and "://" in value:
        return _PASSWORD_IN_URL.sub(rf"\g<1>{HIDDEN}@", value)
    return value


def lift_temporal_context(_logger: Any, _method: str, event: Event) -> Event:
    """Turns what the Temporal SDK attaches to its lines into plain keys: `workflow_id`, `activity_type`, ..."""
    for attached in ("temporal_workflow", "temporal_activity"):
        found = event.pop(attached, None)
        if isinstance(found, Mapping):
            for key in ("workflow_id", "workflow_type", "run_id", "activity_type", "attempt", "task_queue"):
                if key in found:
                    event.setdefault(key, found[key])
    event.pop("temporal_log", None)
    return event


def configure_logging(log_format: Literal["json", "console"], level: str = "info") -> None:
    """Sends everything that is logged, by structlog or by the standard library, to stderr in one format.

    `json` is one object a line with `timestamp` (RFC 3339, UTC), `level`, `event`, `logger` and what is bound;
    `console` is for people.
    """
    workflow.logger.workflow_info_on_message = False  # the ids are keys of their own here
    activity.logger.activity_info_on_message = False
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=["temporal_workflow", "temporal_activity"]),
        lift_temporal_context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # plain text, without local variables: they hold secrets
        redact,
    ]
    final: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        final += [structlog.processors.JSONRenderer(default=str)]
    else:
        plain = structlog.dev.plain_traceback
        final += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=final)
    _replace_handlers(formatter, _LEVELS[level])
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _replace_handlers(formatter: logging.Formatter, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    for chatty in ("httpx", "httpcore", "botocore", "urllib3", "clickhouse_connect", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


class LogContext(Interceptor):
    """Worker interceptor: binds workflow, activity and business ids to every line that an activity logs."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Puts the binding in front of the activity."""
        return _BindActivity(next)


class _BindActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        bound = {
            "workflow_id": info.workflow_id,
            "activity_type": info.activity_type,
            "attempt": info.attempt,
            **business_ids(input.args),
        }
        with structlog.contextvars.bound_contextvars(**bound):
            return await super().execute_activity(input)


def business_ids(args: Any) -> dict[str, str]:
    """The ids that an activity's input carries, directly or in its `scope`."""
    found: dict[str, str] = {}
    for argument in args:
        if not is_dataclass(argument):
            continue
        for field in fields(argument):
            value = getattr(argument, field.name)
            if field.name == "scope" and is_dataclass(value):
                found |= business_ids([value])
            elif field.name in BOUND_IDS and isinstance(value, str):
                found[field.name] = value
    return found


def temporal_runtime(metrics_port: int | None = None, level: str = "info", host: str = "127.0.0.1") -> Runtime:
    """The SDK's runtime with its own log lines sent through ours and, when asked, its metrics on `metrics_port`.

    One a process, made before the first client. The SDK says little below `warning` that an operator needs.
    """
    core_level: Literal["DEBUG", "INFO", "WARN", "ERROR"] = "DEBUG" if level == "debug" else "WARN"
    forwarding = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"), append_target_to_name=False, prepend_target_on_message=False
    )
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(TelemetryFilter(core_level=core_level, other_level="ERROR"), forwarding=forwarding),
            metrics=None if metrics_port is None else PrometheusConfig(bind_address=f"{host}:{metrics_port}"),
        ),
        worker_heartbeat_interval=timedelta(seconds=60),
    )


def serve_metrics(port: int, host: str = "127.0.0.1") -> int:
    """Serves this process's Prometheus metrics from a thread and returns the port in use (`port` 0: a free one)."""
    server, _thread = start_http_server(port, addr=host)
    return int(server.server_port)
