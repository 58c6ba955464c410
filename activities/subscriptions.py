"""Subscriptions: creating one, crossing its boundaries, cancelling it. Rules are `billing.subscriptions`'s."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import remember_command, scope_of, touch
from activities.business_time import clock_now
from activities.drafting import billed_lines_beyond
from activities.gate import WorkflowGate
from activities.invoice_states import invoice_state
from activities.late_usage import LateUsage, ReadAnew
from activities.look_backs import Close, draft, end_look_back, lock_looked_back, next_action
from activities.outbox import emit
from activities.payloads import subscription_payload
from activities.payment_methods import tell_awaiting_invoices
from activities.revenue import release_due
from activities.settings import load_billing_settings
from activities.states import InvoiceState, SubscriptionState
from billing import subscriptions as rules
from billing.errors import Invalid, InvariantBroken
from billing.terms import ProrationBehavior, Terms
from models.conversions import state_from_row, terms_from_rows
from models.database import Database
from models.queries.invoices import list_drafts_of
from models.queries.subscriptions import get_subscription, list_line_items, list_tax_rates_of
from models.scope import Scope
from models.tables import InvoiceRow, PriceRow, SubscriptionLineItemRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class ClosePeriod:
    """Cross the subscription's boundary at the instant `boundary`, which has come. It names one, so that a repeat
    after a crash finds that it has been crossed, even when the next one has passed as well.
    """

    scope: Scope
    subscription_id: str
    boundary: datetime
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class CancelSubscription:
    """Cancel at business instant `now`, at the period's end, or at `cancel_at`."""

    scope: Scope
    subscription_id: str
    command_id: str
    cancellation_type: str
    now: datetime
    cancel_at: datetime | None = None
    proration_behavior: str | None = None
    final_usage: str = "bill"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChangeMethod:
    """Collect the subscription's invoices by another token from business instant `now` on."""

    scope: Scope
    subscription_id: str
    command_id: str
    provider: str
    payment_method: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ReadSubscription:
    """Where the subscription stands."""

    scope: Scope
    subscription_id: str


class SubscriptionActivities:
    """One transaction each; the invoice that it drafted is set on its way once that transaction is in."""

    def __init__(self, database: Database, gate: WorkflowGate, late: LateUsage) -> None:
        self._database = database
        self._gate = gate
        self._late = late

    @activity.defn(name="subscriptions.close_period")
    async def close_period(self, command: ClosePeriod) -> SubscriptionState:
        """Drafts the invoice of the boundary and rolls the subscription forward; crossing it again changes nothing.

        What an ended subscription crosses is the end of its look-back on late usage.
        """
        state, drafts = await self._late.reading(partial(self._close, command), _asked_at())
        await self._set_going(drafts, command.clock)
        return state

    @activity.defn(name="subscriptions.cancel")
    async def cancel(self, command: CancelSubscription) -> SubscriptionState:
        """Cancels or schedules it; raises Conflict when it has ended, Invalid for an instant outside the period."""
        state, drafts, clock = await self._late.reading(partial(self._cancel, command), _asked_at())
        await self._set_going(drafts, clock)
        return state

    @activity.defn(name="subscriptions.change_payment_method")
    async def change_payment_method(self, command: ChangeMethod) -> SubscriptionState:
        """Takes the new token. Raises Invalid for an empty one."""
        async with self._database.transaction(command.scope) as session:
            row = await get_subscription(session, command.subscription_id, lock=True)
            if command.command_id not in row.seen_commands:
                await change_payment_method(session, row, command)
            return subscription_state(row)

    @activity.defn(name="subscriptions.read")
    async def read(self, command: ReadSubscription) -> SubscriptionState:
        """The subscription as Postgres knows it: others than its workflow may have ended it."""
        async with self._database.transaction(command.scope) as session:
            return subscription_state(await get_subscription(session, command.subscription_id))

    async def _close(self, command: ClosePeriod, late: ReadAnew | None) -> tuple[SubscriptionState, list[InvoiceState]]:
        async with self._database.transaction(command.scope) as session:
            await lock_looked_back(session, late)
            row = await get_subscription(session, command.subscription_id, lock=True)
            if row.next_action_at is None or row.next_action_at > command.boundary:
                invoices = list(await list_drafts_of(session, row.id))  # the start of one may have been cut off
            else:
                invoices = await cross_boundary(session, row, late)
            return subscription_state(row), [invoice_state(invoice) for invoice in invoices]

    async def _cancel(
        self, command: CancelSubscription, late: ReadAnew | None
    ) -> tuple[SubscriptionState, list[InvoiceState], datetime | None]:
        async with self._database.transaction(command.scope) as session:
            await lock_looked_back(session, late)
            row = await get_subscription(session, command.subscription_id, lock=True)
            clock = await clock_now(session, row.test_clock_id)
            if command.command_id in row.seen_commands:
                invoices = list(await list_drafts_of(session, row.id))
            else:
                invoices = await cancel_subscription(session, row, replace(command, now=clock or command.now), late)
            return subscription_state(row), [invoice_state(invoice) for invoice in invoices], clock

    async def _set_going(self, drafts: list[InvoiceState], clock: datetime | None) -> None:
        for invoice in drafts:
            if invoice.is_draft:
                await self._gate.start_invoice(invoice, clock)


LineItems = list[tuple[SubscriptionLineItemRow, PriceRow]]


def _asked_at() -> datetime:
    """The real instant at which the running step was asked for, the same in every try."""
    return activity.info().scheduled_time if activity.in_activity() else datetime.now(UTC)


async def load_terms(session: AsyncSession, row: SubscriptionRow, lines: LineItems | None = None) -> Terms:
    """What was agreed, with the tax rates that apply at the next boundary. `lines` where they have been read."""
    lines = await list_line_items(session, row.id) if lines is None else lines
    at = row.next_action_at or row.current_period_end
    return terms_from_rows(row, lines, await list_tax_rates_of(session, row.customer_id, row.id, row.currency, at))


async def cross_boundary(session: AsyncSession, row: SubscriptionRow, late: ReadAnew | None = None) -> list[InvoiceRow]:
    """Opens the subscription, or closes its period and opens the next, or ends the look-back on its last ones.

    Returns the invoice of the boundary, if any. Raises UsageWanted where only `late` usage can give it a line.
    """
    terms = await load_terms(session, row)
    before = row.next_action_at
    close = Close(row, terms, await load_billing_settings(session), late)
    if row.opened and before is not None and state_from_row(row).next_boundary is None:
        row.version += 1
        touch(row)
        return await end_look_back(session, close, before)
    if not row.opened:
        transition = rules.open_subscription(terms)
        row.opened = True
        event = "subscription.activated"
    else:
        ends_at = row.current_period_end
        billed = await billed_lines_beyond(session, terms, row.id, ends_at)
        transition = rules.close_period(terms, state_from_row(row), billed)
        await release_due(session, ends_at, subscription_id=row.id)
        ended = transition.state.status == rules.SubscriptionStatus.cancelled
        event = "subscription.cancelled" if ended else "subscription.updated"
    invoices = await _apply(session, close, transition)
    if before is not None and row.next_action_at is not None and row.next_action_at <= before:
        raise InvariantBroken(f"subscription {row.id} would not move on from {before.isoformat()}")
    await _tell(session, row, event, before or row.current_period_start)
    return invoices


async def cancel_subscription(
    session: AsyncSession, row: SubscriptionRow, command: CancelSubscription, late: ReadAnew | None = None
) -> list[InvoiceRow]:
    """Applies a cancellation. Returns the final invoice, if the cancellation makes one.

    Raises UsageWanted where only `late` usage can give it a line.
    """
    kind, at = _kind_and_instant(command)
    terms = await load_terms(session, row)
    billed = await billed_lines_beyond(session, terms, row.id, at)
    transition = rules.cancel(
        terms,
        state_from_row(row),
        at,
        kind,
        billed,
        _proration(command.proration_behavior),
        _final_usage(command.final_usage),
    )
    row.cancel_at_period_end = kind is rules.CancellationType.end_of_period
    row.cancel_proration = command.proration_behavior
    close = Close(row, terms, await load_billing_settings(session), late)
    invoices = await _apply(session, close, transition)
    remember_command(row, command.command_id)
    ended = transition.state.status == rules.SubscriptionStatus.cancelled
    await _tell(session, row, "subscription.cancelled" if ended else "subscription.updated", command.now)
    return invoices


async def change_payment_method(session: AsyncSession, row: SubscriptionRow, command: ChangeMethod) -> None:
    """From the next attempt on, open invoices included, a locked subscription's invoices are paid by another token.

    A subscription that has ended takes one as well: what it still owes is to be paid.
    """
    if not command.payment_method or not command.provider:
        raise Invalid(
            "gateway_payment_method_id and payment_gateway must both be given", field="gateway_payment_method_id"
        )
    row.payment_gateway, row.gateway_payment_method_id = command.provider, command.payment_method
    row.version += 1
    touch(row)
    remember_command(row, command.command_id)
    await _tell(session, row, "subscription.updated", command.now)
    await tell_awaiting_invoices(session, row.customer_id, row.id)


def _kind_and_instant(command: CancelSubscription) -> tuple[rules.CancellationType, datetime]:
    try:
        return rules.CancellationType(command.cancellation_type), command.now
    except ValueError:
        known = ", ".join(rules.CancellationType)
        raise Invalid(
            f"cancellation_type must be one of {known}; got {command.cancellation_type!r}", field="cancellation_type"
        ) from None


def _proration(text: str | None) -> ProrationBehavior | None:
    if text is None:
        return None
    try:
        return ProrationBehavior(text)
    except ValueError:
        known = ", ".join(ProrationBehavior)
        raise Invalid(f"proration_behavior must be one of {known}; got {text!r}", field="proration_behavior") from None


def _final_usage(text: str) -> rules.FinalUsage:
    try:
        return rules.FinalUsage(text)
    except ValueError:
        known = ", ".join(rules.FinalUsage)
        raise Invalid(f"final_usage must be one of {known}; got {text!r}", field="final_usage") from None


async def _apply(session: AsyncSession, close: Close, transition: rules.Transition) -> list[InvoiceRow]:
    """Writes the state after a step, and drafts the invoice that the step makes due."""
    row, after = close.subscription, transition.state
    row.subscription_status = after.status.value
    row.current_period_start, row.current_period_end = after.current_period.start, after.current_period.end
    row.cancel_at, row.cancelled_at = after.cancel_at, after.cancelled_at
    row.version += 1
    touch(row)
    invoices = [] if transition.invoice is None else [await draft(session, close, transition.invoice)]
    row.next_action_at = await next_action(session, row, after, close.settings.late_usage)
    return invoices


async def _tell(session: AsyncSession, row: SubscriptionRow, event: str, at: datetime) -> None:
    await session.flush()
    await emit(session, scope_of(row), event, row.id, {"subscription": subscription_payload(row)}, at)


def subscription_state(row: SubscriptionRow) -> SubscriptionState:
    """Where the subscription stands, for its workflow."""
    return SubscriptionState(
        scope=scope_of(row),
        subscription_id=row.id,
        customer_id=row.customer_id,
        plan_id=row.plan_id,
        status=row.subscription_status,
        period_start=row.current_period_start,
        period_end=row.current_period_end,
        next_action_at=row.next_action_at,
        test_clock_id=row.test_clock_id,
        seen_commands=tuple(row.seen_commands),
    )
