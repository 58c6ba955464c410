"""Refunds as providers report them: how ours went, and those that somebody made in a provider's dashboard.

Works inside the caller's transaction, on an invoice that is locked, and commits nothing.
"""

from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of, touch
from activities.excess import excess_of, take_for_refund
from activities.ports import RefundDeclined, Refunded, RefundPending, RefundTold
from activities.refunds import held_of, settle_refund, tell_refund
from billing.money import decimal_text
from billing.refunds import RefundStatus, TakenIn, Told, split_told, take_in
from models.ids import new_id
from models.queries.refunds import find_refund_told
from models.tables import InvoiceRow, PaymentAttemptRow, RefundRow

AT_THE_PROVIDER = "made at the provider"


async def record_told_refund(
    session: AsyncSession, invoice: InvoiceRow, attempt: PaymentAttemptRow, told: RefundTold, now: datetime
) -> None:
    """Settles a refund of ours; books one that was made elsewhere, once it has succeeded. A repeat changes nothing."""
    row = await find_refund_told(session, attempt.payment_gateway, told.provider_refund_id, told.refund_id)
    step = take_in(None if row is None else RefundStatus(row.refund_status), _what(told))
    if row is None:
        if step is TakenIn.book:
            await _book(session, invoice, attempt, told, now)
    elif step is TakenIn.settle:
        await settle_refund(session, invoice, row, told.result, now)
    elif step is TakenIn.tell and isinstance(told.result, RefundDeclined):
        invoice.needs_attention = (
            f"refund {row.id} of {decimal_text(row.amount)} {row.currency} came back ({told.result.reason}) after it"
            " had succeeded: give the money back in another way"
        )
        touch(invoice)


def _what(told: RefundTold) -> Told:
    if isinstance(told.result, Refunded):
        return Told.succeeded
    return Told.pending if isinstance(told.result, RefundPending) else Told.declined


async def _book(
    session: AsyncSession, invoice: InvoiceRow, attempt: PaymentAttemptRow, told: RefundTold, now: datetime
) -> None:
    """What is credit of a wallet went back first; what is beyond all that we hold has been given twice."""
    excess = await excess_of(session, attempt.payment_id)
    credit, twice = split_told(told.amount, excess.amount, await held_of(session, invoice))
    row = RefundRow(
        id=new_id("refund"),
        **new_columns(scope_of(invoice)),
        payment_id=attempt.payment_id,
        invoice_id=invoice.id,
        customer_id=invoice.customer_id,
        attempt_id=attempt.id,
        payment_gateway=attempt.payment_gateway,
        gateway_payment_id=told.provider_payment_id,
        refund_destination="GATEWAY",
        refund_reason="OTHER",
        refund_status="PROCESSING",
        amount=told.amount,
        currency=told.currency,
        initiated_at=now,
        refund_metadata={"because": AT_THE_PROVIDER},
    )
    session.add(row)
    await session.flush()
    await take_for_refund(session, invoice, excess, credit, row, now)
    await tell_refund(session, row, "refund.created", now)
    await settle_refund(session, invoice, row, told.result, now)
    if twice:
        invoice.needs_attention = (
            f"refund {told.provider_refund_id}, {AT_THE_PROVIDER}, gave back {decimal_text(twice)} {told.currency} that"
            " had gone back, or to the customer's wallet, before: debit the wallet, or ask the customer"
        )
        touch(invoice)
