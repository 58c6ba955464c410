"""Double entry: what each money event posts. Owns accounts and the balance of postings, not their storage.

Money in advance is deferred revenue until its period has ended; credits take back the part that is not yet released.
Rules: architecture.md section 5.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Final

from billing.credit_notes import CreditNoteType
from billing.errors import Conflict, InvariantBroken
from billing.invoices import Invoice, InvoiceLine, is_deferred
from billing.money import ZERO, is_rounded, minus, negated, round_amount, total
from billing.terms import LineKind
from billing.voids import CreditGiven

ACCOUNTS_RECEIVABLE: Final = "accounts_receivable"
REVENUE: Final = "revenue"
DEFERRED_REVENUE: Final = "deferred_revenue"
TAX_PAYABLE: Final = "tax_payable"
CUSTOMER_CREDIT: Final = "customer_credit"
REFUNDS: Final = "refunds"
"""Revenue given back to customers; a credit note says of what."""
DISPUTE_LOSSES: Final = "dispute_losses"
REFUNDS_PAYABLE: Final = "refunds_payable"
"""Credits that were taken out of a wallet and go back as money."""
CREDITS_SOLD: Final = "credits_sold"
"""Credits of a wallet that were invoiced; they are the customer's once that invoice is paid."""
BAD_DEBT: Final = "bad_debt"
"""Receivables that were given up as uncollectible, taxes included; what comes of them after all goes out again."""
LOSSES: Final = frozenset({REFUNDS, DISPUTE_LOSSES})
"""What lowers revenue after the invoice was paid."""


def cash_in_transit(provider: str) -> str:
    """The account of money that `provider` has taken and not yet paid out to us."""
    return f"cash_in_transit:{provider}"


class PostingKind(StrEnum):
    """The event that a posting records."""

    invoice_finalized = "invoice_finalized"
    deferred_released = "deferred_released"
    payment_succeeded = "payment_succeeded"
    invoice_voided = "invoice_voided"
    wallet_credited = "wallet_credited"
    wallet_debited = "wallet_debited"
    payment_refunded = "payment_refunded"
    dispute_lost = "dispute_lost"
    written_off = "written_off"
    recovered = "recovered"
    credit_note_adjusted = "credit_note_adjusted"
    credit_note_refunded = "credit_note_refunded"
    credit_note_voided = "credit_note_voided"


@dataclass(frozen=True, slots=True)
class Entry:
    """One side of a posting, in major units: exactly one of `debit` and `credit` is above 0."""

    account: str
    debit: Decimal
    credit: Decimal
    currency: str

    def __post_init__(self) -> None:
        if min(self.debit, self.credit) != 0 or max(self.debit, self.credit) <= 0:
            raise InvariantBroken(f"a ledger entry must have one side above 0: {self}")
        if not is_rounded(max(self.debit, self.credit), self.currency):
            raise InvariantBroken(f"a ledger entry must have no more digits than its currency: {self}")


@dataclass(frozen=True, slots=True)
class Posting:
    """Entries that belong together and balance in every currency. `reference` is the id of what caused them."""

    kind: PostingKind
    reference: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        for currency in {entry.currency for entry in self.entries}:
            own = [entry for entry in self.entries if entry.currency == currency]
            if total(entry.debit for entry in own) != total(entry.credit for entry in own):
                raise InvariantBroken(f"posting {self.kind} of {self.reference} does not balance in {currency}")


def deferred_amount(line: InvoiceLine) -> Decimal:
    """What a line puts into deferred revenue: its net amount without inclusive tax; 0 if it is not deferred."""
    return minus(line.net_amount, line.inclusive_tax) if is_deferred(line) else ZERO


def reversed_amount(line: InvoiceLine) -> Decimal:
    """What a credit line takes out of deferred revenue again (positive); 0 for other lines.

    The credited part of what the line had put there, rounded on the running sum of credits, so that credits of the
    whole line take back the whole of it.
    """
    billed = line.derivation.credit_of
    if billed is None:
        return ZERO
    part = Fraction(minus(billed.amount, billed.inclusive_tax)) / Fraction(billed.amount)
    before = round_amount(Fraction(billed.credited) * part, line.currency)
    after = round_amount(Fraction(minus(billed.credited, line.amount)) * part, line.currency)
    return minus(after, before)


def post_finalized(invoice_id: str, invoice: Invoice) -> Posting:
    """Receivable against revenue, deferred revenue and tax; against what is sold, for credits of a wallet.

    Credit beyond the charges goes to the customer's credit, with the taxes that it was billed with. What a credit takes
    back beyond deferred revenue (its tax was another then) is revenue lost.
    """
    movements: list[tuple[str, Decimal]] = [(ACCOUNTS_RECEIVABLE, negated(invoice.total))]
    for line in invoice.lines:
        if line.kind is LineKind.adjustment and line.derivation.correction is None:
            continue  # what the carried credit is told of below
        if line.kind is LineKind.credits:
            movements.append((CREDITS_SOLD, line.net_amount))
            continue
        net = minus(line.net_amount, line.inclusive_tax)
        deferred = minus(deferred_amount(line), reversed_amount(line))
        movements += [(DEFERRED_REVENUE, deferred), (REVENUE, minus(net, deferred))]
    carried = invoice.carried
    movements += [
        (REVENUE, carried.inclusive_tax),
        (TAX_PAYABLE, minus(invoice.total_tax, total((carried.exclusive_tax, carried.inclusive_tax)))),
        (CUSTOMER_CREDIT, minus(carried.to_customer, invoice.total_prepaid_credits_applied)),
    ]
    return Posting(PostingKind.invoice_finalized, invoice_id, _entries(movements, invoice.currency))


def release_deferred(line_id: str, line: InvoiceLine, reversed_before: Decimal, at: datetime) -> Posting | None:
    """Deferred revenue of a line becomes revenue when its period has ended; None if nothing is left.

    `reversed_before` is the sum of `reversed_amount` of the credits on it, drafted ones included: a credit that is
    finalized later finds what it takes back. Raises Conflict before the end.
    """
    if at < line.period.end:
        raise Conflict(f"the period of line {line_id} ends only at {line.period.end.isoformat()}", state="deferred")
    left = minus(deferred_amount(line), reversed_before)
    if left <= 0:
        return None
    movements = [(DEFERRED_REVENUE, negated(left)), (REVENUE, left)]
    return Posting(PostingKind.deferred_released, line_id, _entries(movements, line.currency))


def post_back_to_deferred(reference: str, amount: Decimal, currency: str) -> Posting:
    """Revenue that a credit takes back returns to deferred revenue, where the credit's own posting takes it."""
    movements = [(REVENUE, negated(amount)), (DEFERRED_REVENUE, amount)]
    return Posting(PostingKind.deferred_released, reference, _entries(movements, currency))


def post_payment(payment_id: str, provider: str, amount: Decimal, currency: str, beyond: Decimal = ZERO) -> Posting:
    """Money that a provider took for an invoice; `beyond` of it was not owed and becomes the customer's credit."""
    movements = [
        (cash_in_transit(provider), negated(amount)),
        (ACCOUNTS_RECEIVABLE, minus(amount, beyond)),
        (CUSTOMER_CREDIT, beyond),
    ]
    return Posting(PostingKind.payment_succeeded, payment_id, _entries(movements, currency))


def post_refund(
    refund_id: str, provider: str, amount: Decimal, overpaid: Decimal, currency: str, from_wallet: Decimal = ZERO
) -> Posting:
    """Money given back: what was credit (`from_wallet`), then what had been paid beyond the invoice (`overpaid`).

    The rest is revenue given back.
    """
    rest = minus(amount, from_wallet)
    beyond = min(rest, overpaid)
    movements = [
        (cash_in_transit(provider), amount),
        (REFUNDS_PAYABLE, negated(from_wallet)),
        (ACCOUNTS_RECEIVABLE, negated(beyond)),
        (REFUNDS, negated(minus(rest, beyond))),
    ]
    return Posting(PostingKind.payment_refunded, refund_id, _entries(movements, currency))


def post_dispute_lost(dispute_id: str, provider: str, amount: Decimal, currency: str) -> Posting:
    """Money that a customer's bank has taken back for good."""
    movements = [(cash_in_transit(provider), amount), (DISPUTE_LOSSES, negated(amount))]
    return Posting(PostingKind.dispute_lost, dispute_id, _entries(movements, currency))


def post_written_off(invoice_id: str, owed: Decimal, currency: str) -> Posting:
    """What nobody hopes to collect is no asset any more but an expense; revenue and taxes stay as they were billed."""
    return Posting(PostingKind.written_off, invoice_id, _entries(_given_up(owed), currency))


def post_recovered(payment_id: str, amount: Decimal, currency: str) -> Posting:
    """Money that comes for what was written off: so much is a receivable again, for the payment to settle."""
    return Posting(PostingKind.recovered, payment_id, _entries(_given_up(negated(amount)), currency))


def post_credit_note(note_id: str, kind: CreditNoteType, amount: Decimal, tax: Decimal, currency: str) -> Posting:
    """Revenue given back, and the `tax` in it: off what is owed (ADJUSTMENT), or as the customer's credit (REFUND)."""
    adjusts = kind is CreditNoteType.ADJUSTMENT
    movements = [
        (REFUNDS, minus(tax, amount)),
        (TAX_PAYABLE, negated(tax)),
        (ACCOUNTS_RECEIVABLE if adjusts else CUSTOMER_CREDIT, amount),
    ]
    posted = PostingKind.credit_note_adjusted if adjusts else PostingKind.credit_note_refunded
    return Posting(posted, note_id, _entries(movements, currency))


def post_credit_note_voided(posted: Posting, currency: str) -> Posting:
    """Takes back what a note has `posted`."""
    movements = [(entry.account, minus(entry.debit, entry.credit)) for entry in posted.entries]
    return Posting(PostingKind.credit_note_voided, posted.reference, _entries(movements, currency))


def written_off(posted: Iterable[Posting]) -> Decimal:
    """What of an invoice's `posted` is written off and has not come after all, in major units."""
    entries = [entry for posting in posted for entry in posting.entries if entry.account == BAD_DEBT]
    return total(minus(entry.debit, entry.credit) for entry in entries)


def _given_up(owed: Decimal) -> list[tuple[str, Decimal]]:
    return [(BAD_DEBT, negated(owed)), (ACCOUNTS_RECEIVABLE, owed)]


def post_void(
    invoice_id: str,
    posted: Iterable[Posting],
    paid: Decimal,
    currency: str,
    own: Iterable[CreditGiven] = (),
    credited: Iterable[CreditGiven] = (),
    gone: Iterable[Posting] = (),
) -> Posting:
    """Takes back `posted`: an invoice's finalizing, releases, write-off and adjustments; what was paid becomes credit.

    So do its `own` credits, which stay given, and what others `credited` of it goes out again (billing.voids). `paid`
    is what is left of the payments: `gone` are the invoice's refunds, those by credit note too, and lost disputes,
    which are no loss of revenue any more.
    """
    movements = [(entry.account, minus(entry.debit, entry.credit)) for posting in posted for entry in posting.entries]
    movements += [(ACCOUNTS_RECEIVABLE, negated(paid)), (CUSTOMER_CREDIT, paid)]
    movements += [movement for posting in gone for movement in _no_loss(posting)]
    movements += [movement for credit in own for movement in _given(credit)]
    movements += [(account, negated(amount)) for credit in credited for account, amount in _given(credit)]
    return Posting(PostingKind.invoice_voided, invoice_id, _entries(movements, currency))


def _no_loss(posting: Posting) -> list[tuple[str, Decimal]]:
    """What a refund or a lost dispute took off revenue and tax is owed no more: it settles what was paid by it."""
    taken = {*LOSSES, TAX_PAYABLE}
    lost = total(minus(each.debit, each.credit) for each in posting.entries if each.account in taken)
    of_account = [(each.account, minus(each.debit, each.credit)) for each in posting.entries if each.account in taken]
    return [*of_account, (ACCOUNTS_RECEIVABLE, negated(lost))]


def _given(credit: CreditGiven) -> list[tuple[str, Decimal]]:
    """A credit by itself: what was deferred, earned and owed as tax becomes the customer's."""
    inside = round_amount(credit.share * Fraction(credit.billed.inclusive_tax), credit.line.currency)
    deferred, tax = reversed_amount(credit.line), total((inside, credit.exclusive_tax))
    return [
        (DEFERRED_REVENUE, negated(deferred)),
        (REVENUE, total((deferred, tax, negated(credit.amount)))),
        (TAX_PAYABLE, negated(tax)),
        (CUSTOMER_CREDIT, credit.amount),
    ]


def post_movements(kind: PostingKind, reference: str, movements: list[tuple[str, Decimal]], currency: str) -> Posting:
    """A posting from its movements: a positive one is a credit of its account, a negative one a debit."""
    return Posting(kind, reference, _entries(movements, currency))


def _entries(movements: list[tuple[str, Decimal]], currency: str) -> tuple[Entry, ...]:
    """One entry an account: a positive movement is a credit, a negative one a debit, 0 none."""
    by_account: dict[str, Decimal] = {}
    for account, amount in movements:
        by_account[account] = total((by_account.get(account, ZERO), amount))
    return tuple(
        Entry(account, negated(amount), ZERO, currency) if amount < 0 else Entry(account, ZERO, amount, currency)
        for account, amount in by_account.items()
        if amount
    )
