"""Commands of the API and CLI: written to Postgres where they are facts, sent to the workflow where they steer one."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import uuid4

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from activities.bookkeeping import remember_command
from activities.invoice_states import invoice_state
from activities.payment_methods import gateway_of
from activities.receipts import NewPayment, record_payment
from activities.states import ClockState, InvoiceState, SubscriptionState
from activities.subscriptions import ChangeMethod, change_payment_method
from activities.test_clocks import business_now, check_advance, clock_state, get_clock
from activities.voids import void_invoice
from billing.errors import Conflict
from billing.invoice_states import (
    InvoiceStatus,
    PaymentStatus,
    possible_now,
    require_draft,
    require_unpaid,
)
from billing.subscriptions import SubscriptionStatus
from models.database import Database
from models.queries.invoices import get_invoice
from models.queries.payment_lists import find_payment_by_key
from models.queries.subscriptions import get_subscription
from models.scope import Scope
from models.tables import InvoiceRow, PaymentRow, SubscriptionRow
from workflows.contracts import (
    AdvanceClock,
    Cancel,
    ChangePaymentMethod,
    Command,
    InvoiceCommand,
    clock_workflow_id,
    invoice_workflow_id,
    subscription_workflow_id,
)
from workflows.messaging import Unavailable, WorkflowGone, send_command

__all__ = ["Commands", "Unavailable"]

log = structlog.get_logger()
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # replaced by `send_command`, which knows when it gives up


class Commands:
    """Sends commands to running workflows. Raises BillingErrors, or Unavailable when no worker answers in time."""

    def __init__(self, temporal: Client, database: Database) -> None:
        self._temporal = temporal
        self._database = database

    async def cancel_subscription(
        self,
        scope: Scope,
        subscription_id: str,
        cancellation_type: str,
        *,
        cancel_at: datetime | None = None,
        proration_behavior: str | None = None,
        final_usage: str = "bill",
        reason: str = "",
        command_id: str | None = None,
    ) -> SubscriptionRow:
        """Cancels at once or at the period's end. Returns the subscription as it is afterwards."""
        found = await self._running_subscription(scope, subscription_id, "cancel", command_id)
        if command_id in found.seen_commands:
            return found
        command = Cancel(
            command_id or new_command_id(),
            LONG_AGO,
            cancellation_type,
            cancel_at,
            proration_behavior,
            final_usage,
            reason,
        )
        return await self._command_subscription(scope, subscription_id, "cancel", command)

    async def change_payment_method(
        self,
        scope: Scope,
        subscription_id: str,
        method: str,
        gateway: str | None,
        providers: Collection[str],
        command_id: str | None = None,
    ) -> SubscriptionRow:
        """Collects the subscription's invoices from now on by `method`, a token of `gateway`, one of `providers`.

        Also when the subscription has ended: its open invoices are charged by it at once.
        """
        found = await self._subscription(scope, subscription_id)
        if command_id in found.seen_commands:
            return found
        command_id, provider = command_id or new_command_id(), gateway_of(method, gateway, providers) or ""
        if not _is_over(found):
            command = ChangePaymentMethod(command_id, LONG_AGO, provider, method)
            try:
                return await self._command_subscription(scope, subscription_id, "change_payment_method", command)
            except Conflict as conflict:  # it may have ended in the meantime: what it owes is paid by this method
                if not _is_over(await self._subscription(scope, subscription_id)):
                    raise conflict
        return await self._change_method_of_ended(scope, subscription_id, command_id, provider, method)

    async def finalize_invoice(self, scope: Scope, invoice_id: str, command_id: str | None = None) -> InvoiceRow:
        """Finalizes a draft without waiting for the end of its grace."""
        row = await self._invoice(scope, invoice_id)
        if command_id in row.seen_commands:
            return row
        require_draft(InvoiceStatus(row.invoice_status), PaymentStatus(row.payment_status), "finalize")
        return await self._command_invoice(row, "finalize", command_id)

    async def void_invoice(
        self, scope: Scope, invoice_id: str, reason: str = "", command_id: str | None = None
    ) -> InvoiceRow:
        """Voids an invoice; what was paid of it goes to the customer's wallet."""
        row = await self._invoice(scope, invoice_id)
        command_id = command_id or new_command_id()
        if not invoice_state(row).is_closed:
            try:
                return await self._command_invoice(row, "void", command_id, reason)
            except Conflict as conflict:  # it may have been paid in the meantime: then it is voided all the same
                if not invoice_state(await self._invoice(scope, invoice_id)).is_closed:
                    raise conflict
        return await self._void_closed(scope, invoice_id, reason, command_id)

    async def attempt_payment(self, scope: Scope, invoice_id: str, command_id: str | None = None) -> InvoiceRow:
        """Tries to collect what remains, now."""
        row = await self._invoice(scope, invoice_id)
        if command_id in row.seen_commands:
            return row
        require_unpaid(InvoiceStatus(row.invoice_status), PaymentStatus(row.payment_status), "attempt_payment")
        return await self._command_invoice(row, "attempt_payment", command_id)

    async def record_payment(self, scope: Scope, invoice_id: str, new: NewPayment) -> PaymentRow:
        """Books a payment that was received outside a provider, and tells the invoice's workflow.

        The same `idempotency_key` again answers the payment that it has made.
        """
        async with self._database.transaction(scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            payment = await find_payment_by_key(session, scope, new.idempotency_key) if new.idempotency_key else None
            if payment is None:
                payment = await record_payment(session, row, new, await business_now(session, row.test_clock_id))
        await self.tell_facts_changed(scope, invoice_id)
        return payment

    async def advance_clock(self, scope: Scope, clock_id: str, to: datetime) -> ClockState:
        """Sets a test clock on its way to `to`; answers once it has begun."""
        async with self._database.transaction(scope) as session:
            clock = await get_clock(session, clock_id)
            check_advance(clock, to)
            state = clock_state(clock)
        command = AdvanceClock(new_command_id(), LONG_AGO, to)
        try:
            return await send_command(self._temporal, clock_workflow_id(clock_id), "advance", command, ClockState)
        except WorkflowGone:
            raise Unavailable(
                f"the workflow of test clock {state.clock_id} is being started; send it again", 1
            ) from None

    async def tell_facts_changed(self, scope: Scope, invoice_id: str) -> None:
        """Signals the invoice's workflow to look at Postgres; a workflow that has ended needs no telling."""
        handle = self._temporal.get_workflow_handle(invoice_workflow_id(scope, invoice_id))
        try:
            await handle.signal("facts_changed")
        except RPCError as error:
            # The facts are in Postgres; reconciliation and the next step of the workflow find them there.
            log.info("invoice.signal_failed", invoice_id=invoice_id, status=error.status.name)

    async def _command_subscription(
        self, scope: Scope, subscription_id: str, update: str, command: Command
    ) -> SubscriptionRow:
        workflow_id = subscription_workflow_id(scope, subscription_id)
        try:
            await send_command(self._temporal, workflow_id, update, command, SubscriptionState)
        except WorkflowGone:
            after = await self._running_subscription(scope, subscription_id, update, command.command_id)
            if command.command_id in after.seen_commands:  # it has ended by this very command, or after it
                return after
            raise Unavailable(
                f"the workflow of subscription {subscription_id} is being started; send the command again"
            ) from None
        return await self._subscription(scope, subscription_id)

    async def _command_invoice(
        self, row: InvoiceRow, update: str, command_id: str | None, reason: str = ""
    ) -> InvoiceRow:
        return await self.send_to_invoice(row, update, InvoiceCommand(command_id or new_command_id(), LONG_AGO, reason))

    async def send_to_invoice(self, row: InvoiceRow, update: str, command: Command) -> InvoiceRow:
        """Carries out a command on an invoice that has a workflow. Raises Conflict for its state."""
        scope = Scope(row.tenant_id, row.environment_id)
        try:
            await send_command(self._temporal, invoice_workflow_id(scope, row.id), update, command, InvoiceState)
        except WorkflowGone:
            after = await self._invoice(scope, row.id)
            if command.command_id in after.seen_commands:
                return after
            if after.version == row.version and not invoice_state(after).is_closed:
                raise Unavailable(
                    f"the workflow of invoice {row.id} is being started; send the command again"
                ) from None
            status, payment = InvoiceStatus(after.invoice_status), PaymentStatus(after.payment_status)
            raise Conflict(
                f"{update} is not possible: the invoice is {status}/{payment} by now",
                state=f"{status}/{payment}",
                possible=possible_now(status, payment),
            ) from None
        return await self._invoice(scope, row.id)

    async def _invoice(self, scope: Scope, invoice_id: str) -> InvoiceRow:
        async with self._database.transaction(scope) as session:
            return await get_invoice(session, invoice_id)

    async def _void_closed(self, scope: Scope, invoice_id: str, reason: str, command_id: str) -> InvoiceRow:
        """A paid or skipped invoice has no workflow any more: nothing was to happen to it by itself."""
        async with self._database.transaction(scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            if command_id not in row.seen_commands:
                await void_invoice(session, row, await business_now(session, row.test_clock_id), reason)
                remember_command(row, command_id)
            return row

    async def _change_method_of_ended(
        self, scope: Scope, subscription_id: str, command_id: str, provider: str, method: str
    ) -> SubscriptionRow:
        """A subscription that has ended has no workflow any more; its open invoices have theirs, and are told."""
        async with self._database.transaction(scope) as session:
            row = await get_subscription(session, subscription_id, lock=True)
            if command_id not in row.seen_commands:
                now = await business_now(session, row.test_clock_id)
                change = ChangeMethod(scope, subscription_id, command_id, provider, method, now)
                await change_payment_method(session, row, change)
            return row

    async def _subscription(self, scope: Scope, subscription_id: str) -> SubscriptionRow:
        async with self._database.transaction(scope) as session:
            return await get_subscription(session, subscription_id)

    async def _running_subscription(
        self, scope: Scope, subscription_id: str, command: str, command_id: str | None
    ) -> SubscriptionRow:
        """The subscription, if it runs or has carried out this command already. Raises Conflict."""
        row = await self._subscription(scope, subscription_id)
        if _is_over(row) and command_id not in row.seen_commands:
            raise Conflict(
                f"{command} is not possible: the subscription is {row.subscription_status} since"
                f" {row.cancelled_at.isoformat() if row.cancelled_at else 'its end'}",
                state=row.subscription_status,
            )
        return row


def _is_over(row: SubscriptionRow) -> bool:
    return row.next_action_at is None or row.subscription_status == SubscriptionStatus.cancelled


def new_command_id() -> str:
    """A name for one intent of a caller who gave none."""
    return f"cmd-{uuid4()}"
