"""Writing down what happens to a wallet: its lots, a transaction for each change of one, the ledger, the webhooks.

The changes themselves are `billing.wallets`'s. Everything here works inside the caller's transaction, on a wallet that
is locked, and commits nothing.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of, touch
from activities.outbox import emit
from activities.wallet_payloads import transaction_payload, wallet_payload
from billing.money import ZERO, total
from billing.top_ups import price_of_credits
from billing.wallet_postings import SOURCES, CreditSource, post_taken_out, post_top_up
from billing.wallets import EntryReason, LotEntry, Wallet, WalletChange, worths
from models.conversions import wallet_from_rows
from models.ids import new_id
from models.queries.ledger import insert_posting
from models.queries.wallets import list_lots
from models.tables import WalletLotRow, WalletRow, WalletTransactionRow

OUTSIDE_INVOICES: Final = frozenset({EntryReason.debit, EntryReason.expired, EntryReason.terminated})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What a change is about, in the words of the wire; why credits came or went is in its entries."""

    reference_type: str = "REQUEST"
    reference_id: str = ""
    description: str = ""
    idempotency_key: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    actor: str = ""


@dataclass(frozen=True, slots=True)
class OpenWallet:
    """A locked wallet: its row, the lots that have something left, and the value that `billing` reasons about."""

    row: WalletRow
    lots: dict[str, WalletLotRow]
    wallet: Wallet


async def open_wallet(session: AsyncSession, row: WalletRow) -> OpenWallet:
    """The wallet of a row that the caller has locked."""
    lots = (await list_lots(session, [row.id]))[row.id]
    return OpenWallet(row, {lot.id: lot for lot in lots}, wallet_from_rows(row, lots))


async def write_change(
    session: AsyncSession, opened: OpenWallet, change: WalletChange, cause: Cause
) -> list[WalletTransactionRow]:
    """Writes a change of a wallet: lots, transactions, ledger, one webhook a transaction. Returns the transactions."""
    row = opened.row
    written: list[WalletTransactionRow] = []
    row.wallet_status = change.wallet.status.value
    balance = total(lot.remaining for lot in opened.wallet.lots)
    for entry, amount in zip(change.entries, worths(opened.wallet, change.entries), strict=True):
        lot = opened.lots.get(entry.lot_id) or _new_lot(session, opened, change.wallet, entry, cause)
        lot.remaining = total((lot.remaining, entry.credits))
        touch(lot)
        row.transaction_count += 1
        after = total((balance, entry.credits))
        own = cause if not written else replace(cause, idempotency_key=None)  # the key stands for the whole change
        written.append(_transaction(row, entry, amount, balance, after, own))
        balance = after
    touch(row)
    session.add_all(written)
    await session.flush()
    for entry, transaction in zip(change.entries, written, strict=True):
        await _post(session, opened.wallet, row, entry, transaction)
        await _tell(session, row, transaction, opened.lots.get(entry.lot_id))
    return written


def _new_lot(session: AsyncSession, opened: OpenWallet, wallet: Wallet, entry: LotEntry, cause: Cause) -> WalletLotRow:
    value = next(lot for lot in wallet.lots if lot.id == entry.lot_id)
    lot = WalletLotRow(
        id=value.id,
        **new_columns(scope_of(opened.row)),
        created_by=cause.actor,
        updated_by=cause.actor,
        wallet_id=opened.row.id,
        credits=value.credits,
        remaining=ZERO,
        granted_at=value.granted_at,
        expires_at=value.expires_at,
        priority=value.priority,
        purchased=SOURCES.get(entry.reason) not in (None, CreditSource.free),
    )
    session.add(lot)
    opened.lots[lot.id] = lot
    return lot


def _transaction(
    row: WalletRow, entry: LotEntry, amount: Decimal, before: Decimal, after: Decimal, cause: Cause
) -> WalletTransactionRow:
    return WalletTransactionRow(
        id=new_id("wtxn"),
        **new_columns(scope_of(row)),
        created_by=cause.actor,
        updated_by=cause.actor,
        wallet_id=row.id,
        sequence=row.transaction_count,
        lot_id=entry.lot_id,
        customer_id=row.customer_id,
        type="credit" if entry.credits > 0 else "debit",
        currency=row.currency,
        credits=entry.credits,
        amount=amount,
        credit_balance_before=before,
        credit_balance_after=after,
        transaction_reason=entry.reason.value,
        reference_type=cause.reference_type,
        reference_id=cause.reference_id,
        description=cause.description,
        idempotency_key=cause.idempotency_key,
        occurred_at=entry.at,
        transaction_metadata=dict(cause.metadata),
    )


async def _post(
    session: AsyncSession, wallet: Wallet, row: WalletRow, entry: LotEntry, transaction: WalletTransactionRow
) -> None:
    """What an invoice draws or gives back is in the invoice's own posting; everything else is posted here."""
    source = SOURCES.get(entry.reason)
    if source is not None:
        price = price_of_credits(wallet, entry.credits)
        posting = post_top_up(transaction.id, source, transaction.amount, price, row.currency)
    elif entry.reason in OUTSIDE_INVOICES:
        posting = post_taken_out(transaction.id, transaction.amount, row.currency)
    else:
        return
    await insert_posting(session, scope_of(row), posting, entry.at, customer_id=row.customer_id)


async def _tell(
    session: AsyncSession, row: WalletRow, transaction: WalletTransactionRow, lot: WalletLotRow | None
) -> None:
    body = {
        "transaction": transaction_payload(transaction, row, lot),
        "wallet": wallet_payload(row, (), transaction.occurred_at, transaction.credit_balance_after),
    }
    await emit(session, scope_of(row), "wallet.transaction.created", transaction.id, body, transaction.occurred_at)
