"""What a POST_PAID wallet pays of a finalized invoice, before the provider is asked for the rest.

How much that is, and from which lots, is `billing.wallet_payments`'s and `billing.wallets`'s. Works inside the caller's
transaction, on an invoice that is locked, and commits nothing.
"""

from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of
from activities.drafting import stored_invoice
from activities.payloads import amount_remaining
from activities.receipts import Money, receive
from activities.wallet_books import Cause, OpenWallet, open_wallet, write_change
from billing.money import ZERO, round_amount, total
from billing.wallet_payments import payable_of
from billing.wallets import WalletType, draw_at, take_draws
from models.ids import new_id
from models.queries.invoices import list_lines
from models.queries.payments import paid_by_credits
from models.queries.wallets import find_active_wallet
from models.tables import InvoiceRow, PaymentRow

CREDITS = "CREDITS"
"""The payment method type of what a wallet pays."""


async def open_postpaid(session: AsyncSession, row: InvoiceRow) -> OpenWallet | None:
    """The wallet, locked, that pays what is left of an invoice after it was finalized."""
    found = await find_active_wallet(
        session, scope_of(row), row.customer_id, row.currency, WalletType.POST_PAID.value, lock=True
    )
    return None if found is None else await open_wallet(session, found)


async def has_postpaid(session: AsyncSession, row: InvoiceRow) -> bool:
    """Whether there is such a wallet, whatever is in it."""
    kind = WalletType.POST_PAID.value
    return await find_active_wallet(session, scope_of(row), row.customer_id, row.currency, kind) is not None


async def pay_from_wallet(session: AsyncSession, row: InvoiceRow, now: datetime) -> Decimal:
    """Pays what the wallet can of what is owed; returns how much. Again, it pays what has come since."""
    owed = amount_remaining(row)
    opened = await open_postpaid(session, row) if owed else None
    if opened is None:
        return ZERO
    invoice = stored_invoice(row, await list_lines(session, row.id))
    before = await paid_by_credits(session, row.id)
    asked = payable_of(invoice, owed, before, opened.wallet.allowed_price_types)
    draws = draw_at(opened.wallet, asked, now)
    paid = round_amount(total(draw.amount for draw in draws), row.currency)
    if not paid:
        return ZERO
    change = take_draws(opened.wallet, draws, now, row.id)
    await write_change(session, opened, change, Cause(reference_type="INVOICE", reference_id=row.id))
    payment = PaymentRow(
        id=new_id("pay"),
        **new_columns(scope_of(row)),
        destination_id=row.id,
        customer_id=row.customer_id,
        payment_method_type=CREDITS,
        payment_method_id=opened.row.id,
        amount=paid,
        currency=row.currency,
        payment_status="SUCCEEDED",
        succeeded_at=now,
    )
    session.add(payment)
    await session.flush()
    await receive(session, row, payment, Money(payment.id, None, paid), now)
    return paid
