"""Refunds: asked for, sent to the provider, booked. What may go back, and by which charge, is `billing.refunds`'s.

A refund is of one charge. It is written down first; `RefundWorkflow` then asks the provider until it is settled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.bookkeeping import new_columns, scope_of, touch
from activities.breaker import Breakers
from activities.business_time import business_time
from activities.excess import excess_of, put_back, take_for_refund, taken_for
from activities.outbox import TELL_REFUND, emit, enqueue
from activities.payloads import invoice_payload
from activities.ports import PaymentProvider, Refunded, RefundOutcome, RefundPending, RefundRequest
from activities.receipts import tell_payment
from activities.refund_payloads import refund_payload
from activities.states import RefundState
from activities.wallet_payments import CREDITS
from billing.collection import after_refund, asked_for, check_refund, refundable
from billing.credit_notes import InvoiceBalance
from billing.errors import Conflict
from billing.invoice_states import PAID, InvoiceStatus, PaymentStatus
from billing.ledger import post_refund
from billing.money import ZERO, decimal_text, minus, total
from billing.refunds import COUNTS, UNDER_WAY, Charge, chosen_charge, refund_effect, settles_excess
from models.database import Database
from models.ids import new_id
from models.queries.invoices import get_invoice
from models.queries.ledger import insert_posting
from models.queries.payments import get_payment, list_attempts_of_payment
from models.queries.refunds import (
    find_refund_by_key,
    get_refund,
    list_disputes_of_invoice,
    list_refunds_of_invoice,
    list_refunds_of_payment,
)
from models.scope import Scope
from models.tables import InvoiceRow, PaymentRow, RefundRow


@dataclass(frozen=True, slots=True)
class NewRefund:
    """What is asked for. `amount` in major units; None is all that is left of the payment."""

    amount: Decimal | None = None
    reason: str = "REQUESTED_BY_CUSTOMER"
    idempotency_key: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendRefund:
    """Ask the provider for a refund, or what has become of it, at business instant `now`."""

    scope: Scope
    refund_id: str
    now: datetime


class RefundActivities:
    """The provider's side of refunds. Asking again under the same key tells the state and gives nothing back twice."""

    def __init__(
        self, database: Database, providers: Mapping[str, PaymentProvider], breakers: Breakers | None = None
    ) -> None:
        self._database = database
        self._providers = providers
        self._breakers = breakers or Breakers()

    @activity.defn(name="refunds.send")
    async def send(self, command: SendRefund) -> RefundState:
        """One request; a settled refund is answered as it is."""
        async with self._database.transaction(command.scope) as session:
            row = await get_refund(session, command.refund_id)
            if row.refund_status not in UNDER_WAY:
                return refund_state(row)
        outcome = await self._breakers.of(row.payment_gateway or "").call(partial(self._ask, row))
        async with self._database.transaction(command.scope) as session:
            invoice = await get_invoice(session, row.invoice_id, lock=True)
            stored = await get_refund(session, row.id, lock=True)
            if stored.refund_status in UNDER_WAY and stored.attempt == row.attempt:
                now = await business_time(session, invoice.test_clock_id, command.now)
                await settle_refund(session, invoice, stored, outcome, now)
            return refund_state(stored)

    async def _ask(self, row: RefundRow) -> RefundOutcome:
        provider = self._providers.get(row.payment_gateway or "")
        if provider is None:
            names = ", ".join(sorted(self._providers)) or "none"
            raise Conflict(
                f"payment provider {row.payment_gateway!r} is not configured here; configured: {names}",
                state="no_provider",
            )
        return await provider.refund(
            RefundRequest(
                refund_id=row.id if row.attempt == 1 else f"{row.id}-{row.attempt}",
                provider_payment_id=row.gateway_payment_id or "",
                amount=row.amount,
                currency=row.currency,
                metadata={"tenant_id": row.tenant_id, "environment_id": row.environment_id},
            )
        )


async def create_refund(
    session: AsyncSession, scope: Scope, payment_id: str, new: NewRefund, now: datetime, actor: str = ""
) -> RefundRow:
    """Writes a refund down and sets it on its way; money received outside a provider is booked as given back at once.

    The same `idempotency_key` answers the refund that it made. Raises NotFound, Conflict when nothing is left of the
    payment, Invalid for the amount.
    """
    payment = await get_payment(session, payment_id)
    invoice = await get_invoice(session, payment.destination_id, lock=True)
    known = await _known(session, scope, payment_id, new)
    if known is not None:
        return known
    await session.refresh(payment)
    now = await business_time(session, invoice.test_clock_id, now)
    excess = await excess_of(session, payment.id)
    held = total((await held_of(session, invoice), excess.amount))
    charge, amount = chosen_charge(await charges_of(session, payment), new.amount, held, invoice.currency)
    row = RefundRow(
        id=new_id("refund"),
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        idempotency_key=new.idempotency_key,
        payment_id=payment.id,
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        attempt_id=charge.attempt_id,
        payment_gateway=charge.provider,
        gateway_payment_id=charge.gateway_payment_id,
        refund_destination="OUT_OF_BAND" if charge.provider is None else "GATEWAY",
        refund_reason=new.reason,
        refund_status="PENDING",
        amount=amount,
        currency=payment.currency,
        initiated_at=now,
        refund_metadata=new.metadata,
    )
    session.add(row)
    await session.flush()
    await take_for_refund(session, invoice, excess, min(amount, excess.amount), row, now)
    await tell_refund(session, row, "refund.created", now)
    if charge.provider is None:
        await _succeed(session, invoice, row, now)
    else:
        await enqueue(session, scope, TELL_REFUND, row.id)
    return row


async def retry_refund(session: AsyncSession, refund_id: str) -> RefundRow:
    """A failed refund is tried again, as a new request to the provider. Raises Conflict for any other."""
    row = await _failed(session, refund_id, "retry")
    invoice = await get_invoice(session, row.invoice_id, lock=True)
    held = total((await held_of(session, invoice), await taken_for(session, row.id)))
    check_refund(row.amount, held, row.currency)
    row.refund_status, row.failed_at, row.failure_reason = "PENDING", None, None
    row.gateway_refund_id = None
    row.attempt += 1
    touch(row)
    await enqueue(session, scope_of(row), TELL_REFUND, row.id)
    return row


async def cancel_refund(session: AsyncSession, refund_id: str, now: datetime) -> RefundRow:
    """A failed refund is given up: the money went back in another way, or stays. Raises Conflict for any other."""
    row = await _failed(session, refund_id, "cancel")
    invoice = await get_invoice(session, row.invoice_id, lock=True)
    row.refund_status = "CANCELLED"
    row.cancelled_at = await business_time(session, invoice.test_clock_id, now)
    invoice.needs_attention = None
    await put_back(session, invoice, row, row.cancelled_at)
    for changed in (row, invoice):
        touch(changed)
    await enqueue(session, scope_of(row), TELL_REFUND, row.id)
    return row


async def charges_of(session: AsyncSession, payment: PaymentRow) -> list[Charge]:
    """The charges that a payment consists of, oldest first, each with what is left of it."""
    given = [row for row in await list_refunds_of_payment(session, payment.id) if row.refund_status in COUNTS]

    def left(amount: Decimal, attempt_id: str | None) -> Decimal:
        return minus(amount, total(row.amount for row in given if row.attempt_id == attempt_id))

    if payment.payment_method_type == CREDITS:
        return []  # what a wallet paid goes back to a wallet, with the void of the invoice
    if payment.payment_gateway is None:
        taken = payment.amount if PaymentStatus(payment.payment_status) in PAID else ZERO
        return [Charge(None, None, None, taken, left(taken, None))]
    return [
        Charge(
            attempt.id,
            attempt.payment_gateway,
            attempt.gateway_attempt_id,
            attempt.amount,
            left(attempt.amount, attempt.id),
        )
        for attempt in await list_attempts_of_payment(session, payment.id)
        if attempt.payment_status == "SUCCEEDED"
    ]


async def settle_refund(
    session: AsyncSession, invoice: InvoiceRow, row: RefundRow, outcome: RefundOutcome, now: datetime
) -> None:
    """Writes down what the provider made of a locked refund that is under way."""
    row.gateway_refund_id = outcome.provider_refund_id or row.gateway_refund_id
    touch(row)
    if isinstance(outcome, Refunded):
        await _succeed(session, invoice, row, now)
    elif isinstance(outcome, RefundPending):
        row.refund_status = "PROCESSING"
    else:
        row.refund_status, row.failed_at, row.failure_reason = "FAILED", now, outcome.reason
        invoice.needs_attention = (
            f"refund {row.id} of {decimal_text(row.amount)} {row.currency} failed ({outcome.reason}): retry it, or give"
            " the money back in another way and cancel it"
        )
        touch(invoice)
        await session.flush()
        await tell_refund(session, row, "refund.failed", now)


def refund_state(row: RefundRow) -> RefundState:
    """Where the refund stands, for its workflow."""
    return RefundState(
        scope=scope_of(row),
        refund_id=row.id,
        payment_id=row.payment_id,
        invoice_id=row.invoice_id,
        customer_id=row.customer_id,
        provider=row.payment_gateway or "",
        amount=decimal_text(row.amount),
        currency=row.currency,
        status=row.refund_status,
        attempt=row.attempt,
        failure=row.failure_reason,
    )


async def _known(session: AsyncSession, scope: Scope, payment_id: str, new: NewRefund) -> RefundRow | None:
    if new.idempotency_key is None:
        return None
    row = await find_refund_by_key(session, scope, new.idempotency_key)
    if row is not None and (row.payment_id != payment_id or new.amount not in (None, row.amount)):
        raise Conflict(
            "idempotency_key was used for another refund; use a new one", state="used", field="idempotency_key"
        )
    return row


async def held_of(session: AsyncSession, invoice: InvoiceRow) -> Decimal:
    """What of all the invoice's payments can still be given back."""
    sent = [each for each in await list_refunds_of_invoice(session, invoice.id) if each.refund_status in UNDER_WAY]
    lost = [each for each in await list_disputes_of_invoice(session, invoice.id) if each.dispute_status == "lost"]
    return refundable(
        invoice.amount_paid,
        invoice.refunded_amount,
        total([minus(each.amount, await taken_for(session, each.id)) for each in sent]),
        total(each.amount for each in lost),
    )


async def balance_of(session: AsyncSession, row: InvoiceRow) -> InvoiceBalance:
    """What happened to an invoice's total; refunds under way and lost disputes count as given back."""
    refunded = minus(row.amount_paid, await held_of(session, row))
    return InvoiceBalance(row.amount_due, row.amount_paid, row.adjustment_amount, refunded)


async def _failed(session: AsyncSession, refund_id: str, command: str) -> RefundRow:
    row = await get_refund(session, refund_id, lock=True)
    if row.refund_status != "FAILED":
        raise Conflict(
            f"{command} is not possible: the refund is {row.refund_status}, it must be FAILED", state=row.refund_status
        )
    return row


async def _succeed(session: AsyncSession, invoice: InvoiceRow, row: RefundRow, now: datetime) -> None:
    """The money has gone back: on payment and invoice, in the ledger, and for everyone who listens."""
    payment = await get_payment(session, row.payment_id, lock=True)
    row.refund_status, row.succeeded_at, row.failure_reason = "SUCCEEDED", now, None
    await session.flush()
    owed = asked_for(InvoiceStatus(invoice.invoice_status), invoice.amount_due, invoice.adjustment_amount)
    credit = await taken_for(session, row.id)
    before = PaymentStatus(invoice.payment_status)
    effect = refund_effect(before, owed, invoice.amount_paid, invoice.refunded_amount, row.amount, credit)
    posting = post_refund(row.id, row.payment_gateway or "offline", row.amount, effect.overpaid, row.currency, credit)
    await insert_posting(session, scope_of(row), posting, now, invoice_id=invoice.id, customer_id=invoice.customer_id)
    invoice.refunded_amount, invoice.payment_status = effect.refunded, effect.payment.value
    if settles_excess(effect.overpaid, row.amount) or row.id in (invoice.needs_attention or ""):
        invoice.needs_attention = None
    invoice.version += 1
    gone = total(each.amount for each in await list_refunds_of_payment(session, payment.id) if each.succeeded_at)
    taken = total(charge.taken for charge in await charges_of(session, payment))
    payment.payment_status = after_refund(taken, taken, gone).value
    payment.refunded_at = now
    for changed in (row, payment, invoice):
        touch(changed)
    await session.flush()
    await tell_refund(session, row, "refund.succeeded", now)
    await tell_payment(session, invoice, payment, "payment.updated", now)
    body = {"invoice": invoice_payload(invoice)}
    await emit(session, scope_of(row), "invoice.update.payment", invoice.id, body, now)


async def tell_refund(session: AsyncSession, row: RefundRow, event: str, now: datetime) -> None:
    """Announces a refund as it is now."""
    await emit(session, scope_of(row), event, row.id, {"refund": refund_payload(row)}, now)
