"""Payments as activities: one call of the provider, and what it came to. Booking is in `activities.collection`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import remember_command, touch
from activities.breaker import Breakers
from activities.business_time import business_time
from activities.collection import collection_state, has_new_method, open_attempt, settle, settle_withdrawn
from activities.disputes import record_dispute
from activities.ports import (
    ActionRequired,
    ChargeOutcome,
    ChargeRequest,
    Disputed,
    OutcomeUnknown,
    PaymentProvider,
    RefundTold,
)
from activities.provider_events import NEWS
from activities.states import InvoiceState
from activities.told_refunds import record_told_refund
from billing.errors import Conflict
from models.database import Database
from models.queries.invoices import get_invoice
from models.queries.payments import find_attempt, list_attempts_of_invoice, list_unapplied_events
from models.scope import Scope
from models.tables import InvoiceRow, PaymentAttemptRow


@dataclass(frozen=True, slots=True)
class CollectPayment:
    """Attempt number `attempt_number` to collect an invoice, at business instant `now`."""

    scope: Scope
    invoice_id: str
    attempt_number: int
    now: datetime
    by_hand: bool = False
    """True: somebody asked for it, so that even a method that was declined for good is tried."""
    command_id: str = ""
    """By hand: under which name. The same name makes one attempt, whatever has become of the run that was asked."""


@dataclass(frozen=True, slots=True)
class ApplyFacts:
    """Take in what Postgres has been told about an invoice's payment since the last step."""

    scope: Scope
    invoice_id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class WithdrawAttempt:
    """Take back what waits for the customer, at business instant `now`."""

    scope: Scope
    invoice_id: str
    now: datetime


class PaymentActivities:
    """Collection. An attempt is written down before the provider is asked; its id is the idempotency key there."""

    def __init__(
        self, database: Database, providers: Mapping[str, PaymentProvider], breakers: Breakers | None = None
    ) -> None:
        self._database = database
        self._providers = providers
        self._breakers = breakers or Breakers()

    @activity.defn(name="payments.collect")
    async def collect(self, command: CollectPayment) -> InvoiceState:
        """One attempt. Repeating it repeats the same charge under the same key, so nothing is taken twice."""
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            if command.command_id in row.seen_commands:
                return await collection_state(session, row)
            now = await business_time(session, row.test_clock_id, command.now)
            opened = await open_attempt(session, row, command.attempt_number, now, by_hand=command.by_hand)
            if opened is None:
                return await _after(session, row, command)
        attempt, known = opened
        charge = partial(self._charge, row, attempt, known)
        outcome = await self._breakers.of(attempt.payment_gateway).call(charge, by_hand=command.by_hand)
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id, lock=True)
            stored = await session.get_one(PaymentAttemptRow, attempt.id)
            await settle(session, row, stored, outcome, stored.attempted_at, seen_at=now)
            return await _after(session, row, command)

    @activity.defn(name="payments.apply_facts")
    async def apply_facts(self, command: ApplyFacts) -> InvoiceState:
        """Settles attempts by the providers' webhooks that have been stored, each once; sees a new payment method."""
        async with self._database.transaction(command.scope) as session:
            return await take_in_facts(session, command.invoice_id, command.now)

    @activity.defn(name="payments.withdraw")
    async def withdraw(self, command: WithdrawAttempt) -> InvoiceState:
        """Takes back at the provider what waits for the customer: the invoice is paid otherwise, void, or paid anew."""
        async with self._database.transaction(command.scope) as session:
            attempts = await list_attempts_of_invoice(session, command.invoice_id)
        for attempt in attempts:
            if attempt.payment_status == "PENDING":
                withdraw = partial(self._provider(attempt).withdraw, attempt.id)
                outcome = await self._breakers.of(attempt.payment_gateway).call(withdraw)
                if isinstance(outcome, ActionRequired):
                    raise OutcomeUnknown(f"{attempt.payment_gateway}: {attempt.id} still waits for the customer")
                async with self._database.transaction(command.scope) as session:
                    row = await get_invoice(session, command.invoice_id, lock=True)
                    now = await business_time(session, row.test_clock_id, command.now)
                    stored = await session.get_one(PaymentAttemptRow, attempt.id)
                    await settle_withdrawn(session, row, stored, outcome, now)
        async with self._database.transaction(command.scope) as session:
            row = await get_invoice(session, command.invoice_id)
            now = await business_time(session, row.test_clock_id, command.now)
            return replace(await collection_state(session, row), as_of=now)

    async def _charge(self, row: InvoiceRow, attempt: PaymentAttemptRow, known: bool) -> ChargeOutcome:
        provider = self._provider(attempt)
        # An attempt that was made before may have been charged by a worker that died, or its answer may be lost.
        found = await provider.find_charge(attempt.id) if known else None
        return found or await provider.charge(
            ChargeRequest(
                attempt_id=attempt.id,
                invoice_id=row.id,
                customer_id=row.customer_id,
                payment_method=attempt.payment_method_id,
                amount=attempt.amount,
                currency=attempt.currency,
                description=f"Invoice {row.invoice_number}",
                metadata={"tenant_id": row.tenant_id, "environment_id": row.environment_id},
            )
        )

    def _provider(self, attempt: PaymentAttemptRow) -> PaymentProvider:
        provider = self._providers.get(attempt.payment_gateway)
        if provider is None:
            names = ", ".join(sorted(self._providers)) or "none"
            raise Conflict(
                f"payment provider {attempt.payment_gateway!r} is not configured here; configured: {names}",
                state="no_provider",
            )
        return provider


async def _after(session: AsyncSession, row: InvoiceRow, command: CollectPayment) -> InvoiceState:
    """The state, once what was asked for has been done; asked for again under the same name, it is done."""
    if command.command_id and command.command_id not in row.seen_commands:
        remember_command(row, command.command_id)
        await session.flush()
    return await collection_state(session, row)


async def take_in_facts(session: AsyncSession, invoice_id: str, now: datetime) -> InvoiceState:
    """What Postgres was told about an invoice's payment takes effect; a new payment method makes an attempt due now."""
    row = await get_invoice(session, invoice_id, lock=True)
    now = await business_time(session, row.test_clock_id, now)
    await apply_provider_events(session, row, now)
    if await has_new_method(session, row):
        row.next_action_at = now
        touch(row)
    return replace(await collection_state(session, row), as_of=now)


async def apply_provider_events(session: AsyncSession, row: InvoiceRow, now: datetime) -> None:
    """Settles what stored webhooks decide, in order of arrival, and marks them applied."""
    for event in await list_unapplied_events(session, row.id):
        attempt = await find_attempt(session, event.attempt_id or "")
        if attempt is not None and event.outcome is not None:
            news = NEWS.validate_json(json.dumps(event.outcome))
            if isinstance(news, Disputed):
                await record_dispute(session, row, attempt, news, now)
            elif isinstance(news, RefundTold):
                await record_told_refund(session, row, attempt, news, now)
            else:
                await settle(session, row, attempt, news, now)
        event.applied_at = now
