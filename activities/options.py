"""How long each kind of activity may take and how it is retried, with the reason beside it.

Start-to-close bounds how long a crash of the worker goes unnoticed; schedule-to-close of an hour bounds how long an
outage is waited out in silence before the workflow asks for attention. Vendor clients do not retry: this is the only
retry layer.
"""

from datetime import timedelta
from typing import Any, Final

from temporalio.common import RetryPolicy

_PATIENCE = timedelta(hours=1)

DATABASE: Final[dict[str, Any]] = {
    # One short transaction; ten seconds is far beyond its p99, so a longer silence means that the worker is gone.
    "start_to_close_timeout": timedelta(seconds=10),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
    ),
}

SCAN: Final[dict[str, Any]] = {
    # A page of a hundred with a call each, which heartbeats after every one: a lost worker is noticed by that.
    "start_to_close_timeout": timedelta(minutes=5),
    "heartbeat_timeout": timedelta(seconds=30),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": DATABASE["retry_policy"],
}

VENDOR: Final[dict[str, Any]] = {
    # Payment companies answer within seconds or not at all; their outages last minutes, so back off further.
    "start_to_close_timeout": timedelta(seconds=30),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
    ),
}

RENDER: Final[dict[str, Any]] = {
    # A document of many pages takes a second or two of CPU, and a busy queue may hold it back.
    "start_to_close_timeout": timedelta(seconds=30),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
    ),
}

CLOCK_STEP: Final[dict[str, Any]] = {
    # One step waits for every customer at that instant; it heartbeats, so a lost worker is noticed early.
    "start_to_close_timeout": timedelta(minutes=30),
    "heartbeat_timeout": timedelta(seconds=10),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=500), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
    ),
}

LOOKING: Final[dict[str, Any]] = {
    # A read of usage for each that has a threshold or an alert; it heartbeats after each page of them.
    "start_to_close_timeout": timedelta(minutes=20),
    "heartbeat_timeout": timedelta(minutes=2),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
    ),
}

SEALING: Final[dict[str, Any]] = {
    # Minutes after a long outage, seconds else; it heartbeats after each month of a tenant. Nobody waits for it, and
    # the next hour's pass does what this one leaves.
    "start_to_close_timeout": timedelta(minutes=45),
    "heartbeat_timeout": timedelta(minutes=3),
    "schedule_to_close_timeout": _PATIENCE,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=2), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
    ),
}

SINK: Final[dict[str, Any]] = {
    # A stint of ten minutes that finishes the block in work. A worker that dies stops its heartbeats; nobody gives up.
    "start_to_close_timeout": timedelta(minutes=15),
    "heartbeat_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=10)
    ),
}

DELIVERY: Final[dict[str, Any]] = {
    # Three days of tries, as Standard Webhooks asks: seconds apart at first, then hours.
    "start_to_close_timeout": timedelta(seconds=45),
    "schedule_to_close_timeout": timedelta(days=3),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=5), backoff_coefficient=3, maximum_interval=timedelta(hours=4)
    ),
}

PROVIDER_PAUSED: Final = "provider_paused"
"""Type of the failure that means: the payment provider is down and left alone; its detail says for how many seconds."""

ATTENTION_PAUSE: Final = timedelta(hours=1)
"""How long a step that needs a person waits before it tries again by itself."""
