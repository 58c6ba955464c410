"""Voiding invoices: nothing is owed any more, and what was paid becomes credits of the customer's wallet.

Which sum that is and what is posted is `billing.voids`'s and `billing.ledger`'s. Everything here works inside the
caller's transaction, on an invoice that is locked, and commits nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of, touch
from activities.drafting import stored_invoice
from activities.outbox import emit
from activities.payloads import invoice_payload
from activities.revenue import settle_deferral
from activities.wallets import give_back
from billing.collection import given_back_by_void
from billing.invoice_states import InvoiceStatus, PaymentStatus
from billing.ledger import PostingKind, post_void
from billing.money import ZERO, total
from billing.refunds import RefundStatus
from billing.voids import CreditGiven, after_void, check_settled, credits_given, given_back
from billing.wallets import EntryReason
from models.queries.invoices import list_crediting_invoices, list_lines
from models.queries.ledger import insert_posting, postings_of_invoice
from models.queries.refunds import list_disputes_of_invoice, list_refunds_of_invoice
from models.queries.subscriptions import find_subscription
from models.tables import InvoiceRow

TAKEN_BACK = (
    PostingKind.invoice_finalized,
    PostingKind.deferred_released,
    PostingKind.written_off,
    PostingKind.recovered,
    PostingKind.credit_note_adjusted,
    PostingKind.credit_note_voided,
)
GONE = (PostingKind.payment_refunded, PostingKind.dispute_lost, PostingKind.credit_note_refunded)


async def void_invoice(session: AsyncSession, row: InvoiceRow, now: datetime, reason: str) -> None:
    """Voids a locked invoice, paid or not. Raises Conflict for its state, and then nothing has changed."""
    before = InvoiceStatus(row.invoice_status)
    after, payment = after_void(before, PaymentStatus(row.payment_status))
    lost = await _settled_losses(session, row)
    own, credited = await _credits(session, row)
    credits = row.total_prepaid_credits_applied
    money = given_back_by_void(row.amount_paid, ZERO, total((row.refunded_amount, lost)))
    carried = row.carried_credit if before is InvoiceStatus.FINALIZED else ZERO
    back = given_back(total((money, credits)), own, carried, credited, before)
    row.invoice_status, row.payment_status = after.value, payment.value
    row.refunded_amount = total((row.refunded_amount, money))
    row.voided_at = now
    row.uncollectible = False
    row.next_action_at = row.needs_attention = None
    row.invoice_metadata = {**row.invoice_metadata, **({"void_reason": reason} if reason else {})}
    row.version += 1
    touch(row)
    if back:
        await give_back(session, row, back, EntryReason.void, now)
    posted = await postings_of_invoice(session, row.id, TAKEN_BACK)
    gone = await postings_of_invoice(session, row.id, GONE)
    posting = post_void(row.id, posted, money, row.currency, own, credited, gone)
    await insert_posting(session, scope_of(row), posting, now, invoice_id=row.id, customer_id=row.customer_id)
    await settle_deferral(session, row, before, now)
    await session.flush()
    await emit(session, scope_of(row), "invoice.update.voided", row.id, {"invoice": invoice_payload(row)}, now)


async def _settled_losses(session: AsyncSession, row: InvoiceRow) -> Decimal:
    """What banks took back of the payments for good. Raises Conflict while it is open where some of the money is."""
    refunds, disputes = (
        await list_refunds_of_invoice(session, row.id),
        await list_disputes_of_invoice(session, row.id),
    )
    check_settled(
        [(refund.id, RefundStatus(refund.refund_status)) for refund in refunds],
        [(dispute.id, dispute.dispute_status) for dispute in disputes],
    )
    return total(dispute.amount for dispute in disputes if dispute.dispute_status == "lost")


async def _credits(session: AsyncSession, row: InvoiceRow) -> tuple[Sequence[CreditGiven], Sequence[CreditGiven]]:
    """The credits that the invoice gives, and those that others, drafts and void ones too, give of its lines."""
    if row.subscription_id is None:
        return (), ()
    # Whoever drafts a credit holds the subscription: from here on none is drafted until this transaction ends.
    await find_subscription(session, row.subscription_id, lock=True)
    own: Sequence[CreditGiven] = ()
    credited: list[CreditGiven] = []
    for other in await list_crediting_invoices(session, row.subscription_id):
        given = credits_given(stored_invoice(other, await list_lines(session, other.id)))
        own = given if other.id == row.id else own
        credited += [each for each in given if each.billed.invoice_id == row.id]
    return own, credited
