"""Money beyond what was owed, which is credit of a wallet, on its way back to who paid it.

How much can go back is what is left of the lots that the payment made. Works inside the caller's transaction, on an
invoice that is locked, and commits nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import scope_of
from activities.wallet_books import Cause, OpenWallet, open_wallet, write_change
from activities.wallets import give_back
from billing.money import ZERO, total
from billing.wallet_postings import post_taken_for_refund
from billing.wallets import EntryReason, take_back, worth_of
from models.queries.ledger import insert_posting
from models.queries.wallets import get_wallet, list_lots_of_payment, list_taken_for
from models.tables import InvoiceRow, RefundRow, WalletRow


@dataclass(frozen=True, slots=True)
class Excess:
    """What is left of the credit that a payment made: `amount`, in major units, in `lots` of a locked wallet."""

    wallet: OpenWallet | None = None
    lots: frozenset[str] = frozenset()
    amount: Decimal = ZERO


async def excess_of(session: AsyncSession, payment_id: str) -> Excess:
    """What of the money beyond the invoice is still there as credit."""
    lots = await list_lots_of_payment(session, payment_id)
    if not lots:
        return Excess()
    wallet_id = lots[-1].wallet_id  # an older one is closed, and empty
    row: WalletRow = await session.get_one(WalletRow, wallet_id)
    opened = await open_wallet(session, await get_wallet(session, scope_of(row), wallet_id, lock=True))
    ids = frozenset(lot.id for lot in lots if lot.wallet_id == wallet_id)
    return Excess(opened, ids, worth_of(opened.wallet, ids))


async def take_for_refund(
    session: AsyncSession, invoice: InvoiceRow, excess: Excess, amount: Decimal, refund: RefundRow, now: datetime
) -> None:
    """Takes `amount` of the excess out of the wallet, for a refund that has been written down."""
    if not amount or excess.wallet is None:
        return
    change = take_back(excess.wallet.wallet, excess.lots, amount, now, refund.id)
    await write_change(session, excess.wallet, change, Cause(reference_id=refund.id))
    await _post(session, invoice, refund.id, amount, now)


async def taken_for(session: AsyncSession, refund_id: str) -> Decimal:
    """What of a refund was credit of a wallet, in major units."""
    return total(abs(row.amount) for row in await list_taken_for(session, refund_id))


async def put_back(session: AsyncSession, invoice: InvoiceRow, refund: RefundRow, now: datetime) -> None:
    """A refund is given up: what was credit is credit again."""
    amount = await taken_for(session, refund.id)
    if amount:
        await give_back(session, invoice, amount, EntryReason.adjustment, now, refund.payment_id)
        await _post(session, invoice, f"{refund.id}/cancelled", -amount, now)


async def _post(session: AsyncSession, invoice: InvoiceRow, reference: str, amount: Decimal, now: datetime) -> None:
    posting = post_taken_for_refund(reference, amount, invoice.currency)
    await insert_posting(
        session, scope_of(invoice), posting, now, invoice_id=invoice.id, customer_id=invoice.customer_id
    )
