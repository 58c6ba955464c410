"""Compares, every ten minutes, what Postgres says must happen with what Temporal has under way. Run by a Schedule."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.findings import (
        CHARGE_MISSING,
        CHARGE_UNKNOWN,
        INVOICE_WITHOUT_DOCUMENT,
        OUTBOX_STUCK,
        OVERDUE_ACTION,
        SUBSCRIPTION_WITHOUT_WORKFLOW,
        WEBHOOK_UNDELIVERED,
    )

from workflows.checks import Pass, make_checks

CHECKS = (SUBSCRIPTION_WITHOUT_WORKFLOW, OVERDUE_ACTION, INVOICE_WITHOUT_DOCUMENT, OUTBOX_STUCK, WEBHOOK_UNDELIVERED)

MONEY = (CHARGE_UNKNOWN, CHARGE_MISSING)
"""After the others: a payment company answers slowly, or not at all."""


@workflow.defn(name="ReconciliationWorkflow")
class ReconciliationWorkflow:
    """One pass over what is due or new, of all tenants, in real time."""

    @workflow.run
    async def run(self) -> Pass:
        """Returns what was met; `durabill findings` shows it, with what to do. Fails when a check cannot be made."""
        # A pass that an older build has begun goes on without what it did not know.
        known = workflow.patched("provider-charges")
        return await make_checks((*CHECKS, *(MONEY if known else ())), tell=known)
