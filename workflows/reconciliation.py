"""Compares, every ten minutes, what Postgres says must happen with what Temporal has under way. Run by a Schedule."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.findings import (
        INVOICE_WITHOUT_DOCUMENT,
        OUTBOX_STUCK,
        OVERDUE_ACTION,
        SUBSCRIPTION_WITHOUT_WORKFLOW,
        WEBHOOK_UNDELIVERED,
    )

from workflows.checks import Pass, make_checks

CHECKS = (SUBSCRIPTION_WITHOUT_WORKFLOW, OVERDUE_ACTION, INVOICE_WITHOUT_DOCUMENT, OUTBOX_STUCK, WEBHOOK_UNDELIVERED)


@workflow.defn(name="ReconciliationWorkflow")
class ReconciliationWorkflow:
    """One pass over what is due or new, of all tenants, in real time."""

    @workflow.run
    async def run(self) -> Pass:
        """Returns what was met; `durabill findings` shows it, with what to do. Fails when a check cannot be made."""
        return await make_checks(CHECKS)
