"""Goes, every night, through everything that must hold whatever has happened. Run by a Schedule."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.findings import (
        CHARGE_MISSING,
        CHARGE_UNKNOWN,
        NUMBER_GAP,
        SNAPSHOT_CHANGED,
        SUBSCRIPTION_WITHOUT_WORKFLOW,
        UNBALANCED_LEDGER,
        WALLET_LOT_UNEVEN,
        WORKFLOW_WITHOUT_SUBSCRIPTION,
    )

from workflows.checks import Pass, make_checks

CHECKS = (
    SUBSCRIPTION_WITHOUT_WORKFLOW,
    WORKFLOW_WITHOUT_SUBSCRIPTION,
    UNBALANCED_LEDGER,
    NUMBER_GAP,
    WALLET_LOT_UNEVEN,
)

OUTSIDE = (SNAPSHOT_CHANGED, CHARGE_UNKNOWN, CHARGE_MISSING)
"""After the others: they ask ClickHouse and payment companies."""


@workflow.defn(name="AuditWorkflow")
class AuditWorkflow:
    """One pass over everything there is, of all tenants; it takes as long as there is much."""

    @workflow.run
    async def run(self) -> Pass:
        """Returns what was met; `durabill findings` shows it, with what to do. Fails when a check cannot be made."""
        # A pass that an older build has begun goes on without what it did not know.
        known = workflow.patched("charges-and-snapshots")
        return await make_checks((*CHECKS, *(OUTSIDE if known else ())), everything=True, tell=known)
