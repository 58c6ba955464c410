"""What happens to wallets by the calendar: credits expire. Run by a Schedule."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.options import DATABASE
    from activities.wallet_expiry import ExpireCredits, WalletActivities


@workflow.defn(name="WalletWorkflow")
class WalletWorkflow:
    """One pass over what is due now, in real time; wallets of test clocks follow when the clock arrives."""

    @workflow.run
    async def run(self) -> int:
        """Returns how many lots expired."""
        return await workflow.execute_activity_method(
            WalletActivities.expire,
            ExpireCredits(workflow.now()),
            summary="expire credits",
            **{**DATABASE, "start_to_close_timeout": timedelta(minutes=10), "heartbeat_timeout": timedelta(seconds=30)},
        )
