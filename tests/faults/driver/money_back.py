"""What must hold of credit notes and refunds when all is quiet: each took effect once, in our books and theirs."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.ledger import CUSTOMER_CREDIT, REFUNDS_PAYABLE
from billing.money import minus, total
from models.tables import (
    CreditNoteLineRow,
    CreditNoteRow,
    LedgerEntryRow,
    LedgerTransactionRow,
    RefundRow,
    WalletLotRow,
    WalletRow,
    WebhookEventRow,
)

UNDER_WAY = ("PENDING", "PROCESSING")
POSTED = ("credit_note_adjusted", "credit_note_refunded")


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Money given back, in the company's own books."""

    key: str
    charge: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class MoneyBack:
    """What a tenant has credited and given back."""

    notes: Sequence[CreditNoteRow]
    lines: Sequence[CreditNoteLineRow]
    transactions: Sequence[LedgerTransactionRow]
    entries: Sequence[LedgerEntryRow]
    events: Sequence[WebhookEventRow]
    refunds: Sequence[RefundRow]
    wallets: Sequence[WalletRow]
    lots: Sequence[WalletLotRow]
    given_back: Sequence[GivenBack]
    """By the company: all that name a refund of this tenant, or one of its charges."""


async def read_money_back(session: AsyncSession, company: Iterable[GivenBack], charges: Iterable[str]) -> MoneyBack:
    """From the tenant's tables, and from all that the `company` gave back; `charges` are the tenant's, there."""
    refunds = (await session.exec(select(RefundRow))).all()
    own, named = set(charges), {row.id for row in refunds}
    return MoneyBack(
        notes=(await session.exec(select(CreditNoteRow))).all(),
        lines=(await session.exec(select(CreditNoteLineRow))).all(),
        transactions=(await session.exec(select(LedgerTransactionRow))).all(),
        entries=(await session.exec(select(LedgerEntryRow))).all(),
        events=(await session.exec(select(WebhookEventRow))).all(),
        refunds=refunds,
        wallets=(await session.exec(select(WalletRow))).all(),
        lots=(await session.exec(select(WalletLotRow))).all(),
        given_back=[each for each in company if each.charge in own or each.key in named],
    )


def given_back(books: Path) -> list[GivenBack]:
    """What the payment company gave back, from its own books."""
    with sqlite3.connect(f"file:{books}?mode=ro", uri=True) as opened:
        rows = opened.execute(
            "SELECT refund_id, charge_id, refunds.amount, currency FROM refunds"
            " JOIN charges ON charges.id = charge_id WHERE refunds.status = 'refunded'"
        ).fetchall()
    opened.close()
    return [GivenBack(key, charge, Decimal(amount), currency) for key, charge, amount, currency in rows]


def notes(found: MoneyBack) -> Iterator[str]:
    """Every note is finalized, adds up, is posted once as it reads, and was announced once."""
    posted = {(row.kind, row.reference): row.id for row in found.transactions if row.kind in POSTED}
    created, updated = (
        Counter(event.entity_id for event in found.events if event.event_type == f"credit_note.{name}")
        for name in ("created", "updated")
    )
    for note in found.notes:
        if note.credit_note_status != "FINALIZED":
            yield f"credit note {note.id} was left {note.credit_note_status}"
            continue
        amount = total(line.amount for line in found.lines if line.credit_note_id == note.id)
        if amount != note.total_amount:
            yield f"credit note {note.id} is for {note.total_amount}, and its lines add up to {amount}"
        kind = "credit_note_adjusted" if note.credit_note_type == "ADJUSTMENT" else "credit_note_refunded"
        own = [entry for entry in found.entries if entry.transaction_id == posted.get((kind, note.id))]
        if total(entry.credit for entry in own) != note.total_amount:
            yield f"credit note {note.id} of {note.total_amount} is posted as {total(entry.credit for entry in own)}"
        if (created[note.id], updated[note.id]) != (1, 1):
            yield f"credit note {note.id} was announced {created[note.id]} and {updated[note.id]} times"
    strange = {reference for _, reference in posted} - {note.id for note in found.notes}
    if strange:
        yield f"posted for credit notes that do not exist: {sorted(strange)}"


def refunds(found: MoneyBack) -> Iterator[str]:
    """What we say was given back, the company has given back once, and nothing else."""
    theirs = Counter((each.key, each.amount) for each in found.given_back)
    ours = Counter((row.id, row.amount) for row in found.refunds if row.refund_status == "SUCCEEDED" and row.attempt_id)
    if theirs != ours:
        yield f"given back by the company alone: {dict(theirs - ours)}; by our books alone: {dict(ours - theirs)}"
    for row in found.refunds:
        if row.refund_status != "SUCCEEDED":
            yield f"refund {row.id} of {row.amount} {row.currency} is {row.refund_status}: {row.failure_reason}"
    waiting = _balance(found.entries, REFUNDS_PAYABLE)
    if waiting:
        yield f"{REFUNDS_PAYABLE} is {waiting}, and no refund is under way"


def credit(found: MoneyBack) -> Iterator[str]:
    """What the ledger owes a customer as credit is in the wallets, where a credit is worth one of the currency."""
    for customer in sorted({wallet.customer_id for wallet in found.wallets}):
        own = [wallet for wallet in found.wallets if wallet.customer_id == customer]
        if any(wallet.conversion_rate != 1 or wallet.currency == "jpy" for wallet in own):
            continue  # the ledger has each movement rounded to the currency
        ids = {wallet.id for wallet in own}
        left = total(lot.remaining for lot in found.lots if lot.wallet_id in ids)
        transactions = {row.id for row in found.transactions if row.customer_id == customer}
        entries = [entry for entry in found.entries if entry.transaction_id in transactions]
        if -_balance(entries, CUSTOMER_CREDIT) != left:
            yield f"customer {customer} has {left} in wallets, and {-_balance(entries, CUSTOMER_CREDIT)} in the ledger"


def _balance(entries: Iterable[LedgerEntryRow], account: str) -> Decimal:
    own = [entry for entry in entries if entry.account == account]
    return minus(total(entry.debit for entry in own), total(entry.credit for entry in own))
