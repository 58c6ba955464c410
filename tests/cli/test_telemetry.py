"""Logs: one format for ours and the libraries' lines, ids bound, secrets hidden."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import pytest
import structlog
from prometheus_client import Counter
from temporalio import activity
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from models.scope import Scope
from starter.telemetry import LogContext, configure_logging, serve_metrics

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_of_ours_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    structlog.contextvars.bind_contextvars(tenant_id="tenant_1")
    structlog.get_logger("activities.invoices").info("invoice.finalized", invoice_id="inv_1", lines=3)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "invoice.finalized",
        "level": "info",
        "logger": "activities.invoices",
        "tenant_id": "tenant_1",
        "invoice_id": "inv_1",
        "lines": 3,
    }


def test_a_line_of_a_library_looks_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    logging.getLogger("uvicorn.error").warning("Started on %s", "http://u:hunter2@host:1")
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"]) == (
        "Started on http://u:********@host:1",
        "warning",
        "uvicorn.error",
    )


def test_a_line_of_a_workflow_has_its_ids_as_keys(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    attached = {"workflow_id": "invoice/tenant_1/inv_1", "run_id": "r", "workflow_type": "Invoice", "namespace": "n"}
    logging.getLogger("temporalio.workflow").info("waiting", extra={"temporal_workflow": attached})
    (line,) = lines(capsys)
    assert (line["workflow_id"], line["run_id"], line["workflow_type"]) == ("invoice/tenant_1/inv_1", "r", "Invoice")
    assert "temporal_workflow" not in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_hidden_wherever_they_stand(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format)
    log = structlog.get_logger()
    log.info("started", api_key=SECRET, headers={"X-Api-Key": SECRET, "n": {"Authorization": SECRET}}, password=SECRET)
    log.info("connecting", url=f"postgresql://durabill:{SECRET}@db/durabill")
    local_variable = SECRET
    try:
        raise ConnectionError(f"postgresql://durabill:{local_variable}@db refused")
    except ConnectionError:
        log.exception("failed")
    text = capsys.readouterr().err
    assert "failed" in text
    assert "ConnectionError" in text
    assert SECRET not in text.replace("{SECRET}", "")


def test_below_the_level_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    assert lines(capsys) == []


@dataclass
class Finalize:
    """What an activity is given."""

    scope: Scope
    invoice_id: str
    amount: str


@activity.defn
async def finalize(_input: Finalize) -> str:
    structlog.get_logger("activities.invoices").info("invoice.finalized")
    return "done"


class _Innermost(ActivityInboundInterceptor):
    def __init__(self) -> None:
        """There is nothing behind it."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await input.fn(*input.args)


async def test_an_activity_logs_with_the_ids_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    argument = Finalize(Scope("tenant_1", "env_1"), "inv_1", "12.50")
    input = ExecuteActivityInput(fn=finalize, args=[argument], executor=None, headers={})
    intercepted = LogContext().intercept_activity(_Innermost())
    assert await ActivityEnvironment().run(intercepted.execute_activity, input) == "done"
    structlog.get_logger().info("afterwards")
    line, after = lines(capsys)
    assert {key: line[key] for key in ("tenant_id", "environment_id", "invoice_id")} == {
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "invoice_id": "inv_1",
    }
    assert {"workflow_id", "activity_type", "attempt"} <= line.keys()
    assert "amount" not in line
    assert "invoice_id" not in after


def test_metrics_are_served() -> None:
    Counter("durabill_test_served", "Counts one.").inc()
    port = serve_metrics(0)
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"durabill_test_served_total 1.0" in answer.read()
