"""The worker: serves all task queues, or chosen ones, until it is told to stop; then lets running work finish.

`python worker.py` and `durabill worker` are the same. Settings come from the environment (docs/configuration.md).
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog
import uvloop
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.adapters.kafka_consumer import KafkaEventSource
from activities.balance_alerts import BalanceAlerts
from activities.billing_previews import BillingPreviewActivities
from activities.billing_runs import BillingRunActivities
from activities.book_checks import BOOK_CHECKS
from activities.breaker import Breakers
from activities.charge_checks import charge_checks
from activities.closing_usage import ClosingUsage
from activities.crediting import CreditNoteActivities
from activities.disputes import DisputeActivities
from activities.errors import ErrorTranslator
from activities.event_reconciliation import ReconciliationActivities
from activities.findings import FindingActivities
from activities.full_hours import FullHourActivities
from activities.grouped_usage import GroupedUsage
from activities.ingestion.ports import UsageProgress
from activities.ingestion.supervision import LAZY, SinkActivities
from activities.invoice_documents import DocumentActivities
from activities.invoices import InvoiceActivities
from activities.late_usage import LateUsage
from activities.outbox_publisher import OutboxPublisher
from activities.outbox_relay import OutboxRelay
from activities.payments import PaymentActivities
from activities.refunds import RefundActivities
from activities.revenue import RevenueActivities
from activities.subscriptions import SubscriptionActivities
from activities.test_clocks import ClockActivities
from activities.thresholds import Thresholds
from activities.usage_checks import usage_checks
from activities.usage_sealing import SealingActivities, UsageSealer
from activities.wallet_expiry import WalletActivities
from activities.webhook_queues import WebhookQueueActivities
from activities.webhooks import WebhookActivities
from activities.workflow_checks import WORKFLOW_CHECKS
from starter.clients import EVERYTHING, Clients, connect_temporal, kafka_settings, open_clients, required, system_events
from starter.settings import Settings, load_settings, log_format
from starter.telemetry import LogContext, configure_logging, temporal_runtime
from starter.worker_health import serve_health
from workflows.audit import AuditWorkflow
from workflows.billing_run import BillingRunWorkflow
from workflows.contracts import (
    BILLING,
    DOCUMENTS,
    INGEST,
    PAYMENT_PROVIDERS,
    QUEUES,
    RUNS,
    WEBHOOKS,
    payments_queue,
)
from workflows.dispute import DisputeWorkflow
from workflows.gate import TemporalGate
from workflows.ingestion import IngestionWorkflow
from workflows.invoice import InvoiceWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.refund import RefundWorkflow
from workflows.revenue_release import RevenueReleaseWorkflow
from workflows.subscription import SubscriptionWorkflow
from workflows.test_clock import TestClockWorkflow
from workflows.usage_aggregation import UsageAggregationWorkflow
from workflows.usage_reconciliation import UsageReconciliationWorkflow
from workflows.wallets import WalletWorkflow
from workflows.webhook_delivery import WebhookDeliveryWorkflow
from workflows.webhook_queue import WebhookQueueWorkflow

PASSED_THROUGH = ("billing", "models", "activities")
WORKFLOWS: dict[str, list[type]] = {
    BILLING: [
        SubscriptionWorkflow,
        InvoiceWorkflow,
        TestClockWorkflow,
        RevenueReleaseWorkflow,
        WalletWorkflow,
        RefundWorkflow,
        DisputeWorkflow,
        UsageReconciliationWorkflow,
        UsageAggregationWorkflow,
        ReconciliationWorkflow,
        AuditWorkflow,
        WebhookQueueWorkflow,
    ],
    WEBHOOKS: [WebhookDeliveryWorkflow],
    INGEST: [IngestionWorkflow],
    RUNS: [BillingRunWorkflow],
}
# The behavior is the worker's and not the workflow's: one without a deployment may not name any. Deliveries and billing
# runs are short and stay on the build they began on, each in a queue of its own; all else outlives builds and moves on
# with them (replay tests guard that).
VERSIONING = {WEBHOOKS: VersioningBehavior.PINNED, RUNS: VersioningBehavior.PINNED}
# Drawing is pure CPU, so more at once only makes each slower; the rest mostly waits for others. A run's scans must not
# take the connections of those who do the work.
MOST_ACTIVITIES = {DOCUMENTS: 2, RUNS: 2}
MOST_ACTIVITIES_ELSEWHERE = 50
MOST_CACHED_WORKFLOWS = 500
# To Postgres. One event loop keeps no more busy, and each has to be told every statement before it is quick.
CONNECTIONS = 8

log = structlog.get_logger()
Activities = Sequence[Callable[..., Any]]


def activities_by_queue(clients: Clients, gate: TemporalGate, progress: UsageProgress) -> dict[str, Activities]:
    """Which activities each queue runs, with their clients injected."""
    database = clients.database
    reader = required(clients.usage, "clickhouse")
    usage = GroupedUsage(reader.clickhouse, reader.rollups)
    subscriptions = SubscriptionActivities(database, gate, LateUsage(database, usage, progress))
    invoices = InvoiceActivities(database, usage, progress, ClosingUsage(database, usage))
    breakers = Breakers()
    payments = PaymentActivities(database, clients.providers, breakers)
    thresholds, alerts = Thresholds(database, usage), BalanceAlerts(database, usage)
    clocks = ClockActivities(database, gate, progress, thresholds, alerts, usage)
    hours = FullHourActivities(database, progress, thresholds, alerts)
    documents = DocumentActivities(database, required(clients.object_store, "documents"))
    webhooks = WebhookActivities(database, required(clients.webhook_sender, "webhooks"))
    revenue = RevenueActivities(database)
    wallets = WalletActivities(database)
    refunds = RefundActivities(database, clients.providers, breakers)
    disputes = DisputeActivities(database)
    credit_notes = CreditNoteActivities(database)
    runs = BillingRunActivities(database, gate, clients.settings.wake_spread_seconds)
    previews = BillingPreviewActivities(database, usage)
    reconciliation = ReconciliationActivities(database, required(clients.clickhouse, "clickhouse"), progress)
    clickhouse, lazy = required(clients.clickhouse, "clickhouse"), clients.settings.lazy_tenants
    sealing = SealingActivities(database, UsageSealer(clickhouse, clients.settings.event_retention_months))
    # What is stored now, and not what was sealed of it: somebody may have taken events away by hand.
    checks = {
        **WORKFLOW_CHECKS,
        **BOOK_CHECKS,
        **charge_checks(clients.providers),
        **usage_checks(GroupedUsage(reader.clickhouse)),
    }
    findings = FindingActivities(database, gate, checks)
    return {
        BILLING: [
            subscriptions.close_period,
            subscriptions.cancel,
            subscriptions.change_payment_method,
            subscriptions.read,
            invoices.finalize,
            invoices.void,
            credit_notes.finalize,
            credit_notes.void,
            payments.apply_facts,
            payments.collect,
            clocks.begin,
            clocks.step,
            clocks.fail,
            revenue.release,
            wallets.expire,
            disputes.read,
            reconciliation.reconcile,
            sealing.seal,
            hours.check_thresholds,
            hours.check_balances,
            findings.look,
        ],
        DOCUMENTS: [documents.render],
        INGEST: [SinkActivities(lambda lane: _source_of(clients.settings, lane), clickhouse, lazy).consume],
        WEBHOOKS: [webhooks.deliver, webhooks.give_up, WebhookQueueActivities(database).next],
        RUNS: [runs.begin, runs.count, runs.wake, runs.explain, previews.preview],
        **{
            payments_queue(provider): [payments.collect, payments.withdraw, refunds.send]
            for provider in PAYMENT_PROVIDERS
        },
    }


def _source_of(settings: Settings, lane: str) -> KafkaEventSource:
    """The records of a lane; raises SettingsError when no broker is configured."""
    usual = kafka_settings(settings)
    return KafkaEventSource(usual.lazy() if lane == LAZY else usual)


def workflow_runner(sandbox: bool) -> WorkflowRunner:
    """The sandbox re-imports a workflow's module for every run; what is checked to be pure is passed through."""
    if not sandbox:
        return UnsandboxedWorkflowRunner()
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))


def deployment(settings: Settings, queue: str) -> WorkerDeploymentConfig | None:
    """One name and build for all queues; entity workflows upgrade by themselves, short ones stay pinned."""
    if settings.temporal_deployment_name is None or settings.temporal_build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.temporal_deployment_name, settings.temporal_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VERSIONING.get(queue, VersioningBehavior.AUTO_UPGRADE),
    )


def make_workers(client: Client, settings: Settings, served: dict[str, Activities]) -> list[Worker]:
    """One worker a queue."""
    return [
        Worker(
            client,
            task_queue=queue,
            workflows=WORKFLOWS.get(queue, []),
            activities=activities,
            workflow_runner=workflow_runner(settings.sandbox),
            interceptors=[LogContext(), ErrorTranslator()],
            max_concurrent_activities=MOST_ACTIVITIES.get(queue, MOST_ACTIVITIES_ELSEWHERE),
            max_cached_workflows=MOST_CACHED_WORKFLOWS,
            graceful_shutdown_timeout=timedelta(seconds=settings.worker_drain_seconds),
            deployment_config=deployment(settings, queue),
        )
        for queue, activities in served.items()
    ]


def chosen_queues(settings: Settings) -> tuple[str, ...]:
    """The queues to serve; raises ValueError naming one that does not exist."""
    unknown = [queue for queue in settings.worker_queues if queue not in QUEUES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a task queue; there are: {', '.join(QUEUES)}")
    return settings.worker_queues or QUEUES


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then drains: no new work, and `worker_drain_seconds` for what is running."""
    queues = chosen_queues(settings)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=16, thread_name_prefix="blocking"))
    runtime = temporal_runtime(settings.metrics_port, settings.log_level)
    client = await connect_temporal(settings, wait=True, runtime=runtime)
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(open_clients(settings, EVERYTHING - {"temporal"}, CONNECTIONS))
        gate = TemporalGate(client, wake_spread_seconds=settings.wake_spread_seconds)
        served = activities_by_queue(clients, gate, required(clients.progress, "clickhouse"))
        workers = make_workers(client, settings, {queue: served[queue] for queue in queues})
        health = await stack.enter_async_context(serve_health(settings, clients, client))
        for worker in workers:
            await stack.enter_async_context(worker)
        relay = asyncio.create_task(relay_outbox(clients, gate, queues, stop))
        # What has been loaded by now stays: to look it through for garbage again and again is half of a close's Python.
        gc.freeze()
        health.ready = True
        log.info("worker.started", queues=list(queues))
        await stop.wait()
        health.ready = False
        log.info("worker.draining", seconds=settings.worker_drain_seconds)
        await relay
    log.info("worker.stopped")


async def relay_outbox(clients: Clients, gate: TemporalGate, queues: Sequence[str], stop: asyncio.Event) -> None:
    """The outbox relay runs beside the webhooks queue; with a broker, so does what publishes events there."""
    if WEBHOOKS not in queues:
        return
    events = system_events(clients.settings)
    publisher = None if events is None else OutboxPublisher(clients.database, events)
    relay = OutboxRelay(clients.database, gate, clients.settings.require("postgres_dsn"), publisher)
    await asyncio.gather(relay.run(stop), *([publisher.run(stop)] if publisher else []))


async def run(settings: Settings) -> None:
    """`serve` until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, stop)


def main() -> None:
    """Runs the worker and leaves without the interpreter's own exit, which the Temporal SDK can turn into an abort."""
    code = 0
    try:
        settings = load_settings()
        configure_logging(log_format(settings), settings.log_level)
        uvloop.run(run(settings))
    except ValueError as problem:
        log.error("worker.refused", problem=str(problem))
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
