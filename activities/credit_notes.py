"""Credit notes: written as drafts, finalized, voided. What a note may be for and what it changes is `billing`'s.

Everything here works inside the caller's transaction and commits nothing. The invoice is locked first, so that caps
hold whoever else credits, pays or refunds at the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy.exc import IntegrityError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of, touch
from activities.business_time import business_time
from activities.credit_note_payloads import credit_note_payload
from activities.drafting import line_from_row
from activities.outbox import emit
from activities.payloads import amount_remaining, invoice_payload
from activities.receipts import recover, settle_adjusted
from activities.refunds import balance_of
from activities.wallets import give_back, open_prepaid
from billing import credit_notes as rules
from billing.credit_notes import CreditNoteReason, CreditNoteStatus, CreditNoteType, TaxedAmount
from billing.errors import Conflict, Invalid
from billing.invoice_states import InvoiceStatus, PaymentStatus, require_finalized
from billing.ledger import PostingKind, post_credit_note, post_credit_note_voided
from billing.money import ZERO, minus, total
from billing.wallets import EntryReason
from models.ids import derived_id, new_id
from models.queries.credit_notes import (
    find_note_by_key,
    list_finalized_lines,
    list_note_lines,
    take_note_number,
)
from models.queries.invoices import get_invoice, list_lines
from models.queries.ledger import insert_posting, postings_of_invoice
from models.queries.paging import violated_index
from models.queries.subscriptions import find_subscription
from models.scope import Scope
from models.tables import CreditNoteLineRow, CreditNoteRow, InvoiceLineRow, InvoiceRow


@dataclass(frozen=True, slots=True)
class NoteLine:
    """What is credited of an invoice's line, its tax included, in major units; None: of the invoice as a whole."""

    amount: Decimal
    invoice_line_id: str | None = None
    display_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    derivation: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class NewCreditNote:
    """What is asked for. Without `kind` it is a REFUND of an invoice that is paid, else an ADJUSTMENT."""

    invoice_id: str
    reason: CreditNoteReason
    lines: tuple[NoteLine, ...]
    kind: CreditNoteType | None = None
    memo: str = ""
    idempotency_key: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def amount(self) -> Decimal:
        """The sum of its lines."""
        return total(line.amount for line in self.lines)


async def create_credit_note(
    session: AsyncSession, scope: Scope, new: NewCreditNote, now: datetime, actor: str = ""
) -> CreditNoteRow:
    """A DRAFT that could be finalized now. The same `idempotency_key` answers the note that it made.

    Raises NotFound, Conflict for the invoice's state, Invalid for an amount.
    """
    row = await get_invoice(session, new.invoice_id, lock=True)
    known = await _known(session, scope, new)
    if known is not None:
        return known
    status, payment = InvoiceStatus(row.invoice_status), PaymentStatus(row.payment_status)
    kind = new.kind or rules.type_for(payment)
    require_finalized(status, "credit_note")
    rules.require_no_attempt(payment)
    await _check_lines(session, row, new.lines)
    rules.issue_credit_note(await balance_of(session, row), status, kind, new.amount, row.currency)
    at = await business_time(session, row.test_clock_id, now)
    return await write_draft(session, row, new, kind, new_id("cn"), at, actor)


async def write_draft(
    session: AsyncSession, row: InvoiceRow, new: NewCreditNote, kind: CreditNoteType, note_id: str, at: datetime,
    actor: str = "", usage_correction_id: str | None = None,
) -> CreditNoteRow:  # fmt: skip
    """A draft of a locked invoice, unchecked. Raises Conflict for a key that another note had at the same time."""
    names = {line.id: line.display_name for line in await list_lines(session, row.id)}
    note = CreditNoteRow(
        id=note_id,
        **new_columns(scope_of(row)),
        created_by=actor,
        updated_by=actor,
        idempotency_key=new.idempotency_key,
        invoice_id=row.id,
        customer_id=row.customer_id,
        subscription_id=row.subscription_id,
        usage_correction_id=usage_correction_id,
        credit_note_type=kind.value,
        reason=new.reason.value,
        memo=new.memo,
        currency=row.currency,
        total_amount=new.amount,
        note_metadata=new.metadata,
    )
    session.add(note)
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "credit_notes_idempotency_key":
            raise _used_key() from error
        raise
    session.add_all(
        CreditNoteLineRow(
            id=derived_id("cn_line", note_id, str(position)),
            **new_columns(scope_of(row)),
            credit_note_id=note_id,
            position=position,
            invoice_line_id=line.invoice_line_id,
            display_name=line.display_name or names.get(line.invoice_line_id or "", f"Invoice {row.invoice_number}"),
            amount=line.amount,
            currency=row.currency,
            derivation=line.derivation,
            line_metadata=line.metadata,
        )
        for position, line in enumerate(new.lines)
    )
    await session.flush()
    body = _body(note, await list_note_lines(session, note.id), row)
    await emit(session, scope_of(row), "credit_note.created", note.id, body, at)
    return note


async def finalize_credit_note(session: AsyncSession, row: InvoiceRow, note: CreditNoteRow, now: datetime) -> None:
    """A locked draft of a locked invoice takes its number and its effect: less to pay, or credit of the wallet."""
    rules.require_draft_note(CreditNoteStatus(note.credit_note_status))
    status, payment = InvoiceStatus(row.invoice_status), PaymentStatus(row.payment_status)
    kind, before = CreditNoteType(note.credit_note_type), await balance_of(session, row)
    rules.require_no_attempt(payment)
    after = rules.issue_credit_note(before, status, kind, note.total_amount, row.currency)
    lines = await list_note_lines(session, note.id)
    note.tax_amount = await _tax_in(session, row, lines)
    await _lock_touched(session, row, kind)
    note.credit_note_number = rules.credit_note_number(
        await take_note_number(session, scope_of(row), f"{now:%Y%m}"), now
    )
    note.credit_note_status, note.finalized_at = CreditNoteStatus.FINALIZED.value, now
    row.version += 1
    for changed in (note, row):
        touch(changed)
    if kind is CreditNoteType.ADJUSTMENT:
        if row.uncollectible:
            await recover(session, row, note.id, note.total_amount, now)
        row.adjustment_amount = after.adjusted
        if not amount_remaining(row):
            await settle_adjusted(session, row, now)
    else:
        changed_to = rules.payment_after_refund(payment, status, row.amount_due, before, note.total_amount)
        row.payment_status = changed_to.value
        row.refunded_amount = total((row.refunded_amount, note.total_amount))
        await give_back(session, row, note.total_amount, EntryReason.credit_note, now)
    posting = post_credit_note(note.id, kind, note.total_amount, note.tax_amount, row.currency)
    await insert_posting(session, scope_of(row), posting, now, invoice_id=row.id, customer_id=row.customer_id)
    await _tell(session, row, note, lines, now)


async def _lock_touched(session: AsyncSession, row: InvoiceRow, kind: CreditNoteType) -> None:
    """What a note may change besides its invoice, before its number: a close that credits late usage has these first.

    In the other order the two would wait for each other.
    """
    if kind is CreditNoteType.REFUND:
        await open_prepaid(session, row)
    elif row.subscription_id is not None:
        await find_subscription(session, row.subscription_id, lock=True)


async def void_credit_note(session: AsyncSession, row: InvoiceRow, note: CreditNoteRow, now: datetime) -> None:
    """A locked note of a locked invoice has no effect any more; what it took off is left to pay again."""
    kind = CreditNoteType(note.credit_note_type)
    rules.check_void_of_note(
        CreditNoteStatus(note.credit_note_status),
        kind,
        InvoiceStatus(row.invoice_status),
        PaymentStatus(row.payment_status),
        note.usage_correction_id is not None,
    )
    if note.credit_note_status == CreditNoteStatus.FINALIZED:
        rules.require_not_written_off(row.uncollectible)
        balance = rules.withdraw_adjustment(await balance_of(session, row), note.total_amount)
        row.adjustment_amount = balance.adjusted
        row.version += 1
        for posted in await postings_of_invoice(session, row.id, (PostingKind.credit_note_adjusted,)):
            if posted.reference == note.id:
                posting = post_credit_note_voided(posted, row.currency)
                await insert_posting(
                    session, scope_of(row), posting, now, invoice_id=row.id, customer_id=row.customer_id
                )
    note.credit_note_status, note.voided_at = CreditNoteStatus.VOIDED.value, now
    for changed in (note, row):
        touch(changed)
    await _tell(session, row, note, await list_note_lines(session, note.id), now)


async def _known(session: AsyncSession, scope: Scope, new: NewCreditNote) -> CreditNoteRow | None:
    if new.idempotency_key is None:
        return None
    note = await find_note_by_key(session, scope, new.idempotency_key)
    if note is not None and (note.invoice_id, note.total_amount) != (new.invoice_id, new.amount):
        raise _used_key()
    return note


def _used_key() -> Conflict:
    return Conflict(
        "idempotency_key was used for another credit note; use a new one", state="used", field="idempotency_key"
    )


async def _check_lines(session: AsyncSession, row: InvoiceRow, wanted: Sequence[NoteLine]) -> None:
    """Each of them is the invoice's, and has as much left. Raises Invalid."""
    lines = {line.id: line for line in await list_lines(session, row.id)}
    credited = await _credited(session, row)
    for position, one in enumerate(wanted):
        if one.invoice_line_id is None:
            continue
        line = lines.get(one.invoice_line_id)
        path = f"line_items[{position}]"
        if line is None:
            raise Invalid(
                f"{path}.invoice_line_item_id must be a line of invoice {row.id}; got {one.invoice_line_id!r}",
                field=f"{path}.invoice_line_item_id",
            )
        gone = credited.get(line.id, ZERO)
        left = minus(_billed(line).amount, gone)
        rules.check_line_amount(one.amount, left, row.currency, f"{path}.amount")
        credited[line.id] = total((gone, one.amount))


async def _credited(session: AsyncSession, row: InvoiceRow) -> dict[str | None, Decimal]:
    """What FINALIZED notes credit of each of the invoice's lines, and (None) of the invoice as a whole."""
    found: dict[str | None, Decimal] = {}
    for line, _ in await list_finalized_lines(session, row.id):
        found[line.invoice_line_id] = total((found.get(line.invoice_line_id, ZERO), line.amount))
    return found


async def _tax_in(session: AsyncSession, row: InvoiceRow, lines: Sequence[CreditNoteLineRow]) -> Decimal:
    """The tax in a note, line by line, at most what the invoice has and no note has credited."""
    billed: dict[str | None, TaxedAmount] = {line.id: _billed(line) for line in await list_lines(session, row.id)}
    billed[None] = TaxedAmount(total((row.total, row.total_prepaid_credits_applied)), row.total_tax)
    credited = await _credited(session, row)
    found = ZERO
    for line in lines:
        before = credited.get(line.invoice_line_id, ZERO)
        found = total((found, billed[line.invoice_line_id].tax_in(before, line.amount, row.currency)))
        credited[line.invoice_line_id] = total((before, line.amount))
    earlier = {note.id: note.tax_amount for _, note in await list_finalized_lines(session, row.id)}
    left = minus(row.total_tax, total(earlier.values()))
    return max(min(found, left, total(line.amount for line in lines)), ZERO)


def _billed(row: InvoiceLineRow) -> TaxedAmount:
    """What an invoice's line asked for, net of discounts, with its tax."""
    line = line_from_row(row)
    tax = total((line.exclusive_tax, line.inclusive_tax))
    return TaxedAmount(total((line.net_amount, line.exclusive_tax)), tax)


async def _tell(
    session: AsyncSession, row: InvoiceRow, note: CreditNoteRow, lines: Sequence[CreditNoteLineRow], now: datetime
) -> None:
    await session.flush()
    await emit(session, scope_of(row), "credit_note.updated", note.id, _body(note, lines, row), now)
    if note.credit_note_number is not None:
        body = {"invoice": invoice_payload(row)}
        await emit(session, scope_of(row), "invoice.update.payment", row.id, body, now)


def _body(note: CreditNoteRow, lines: Sequence[CreditNoteLineRow], row: InvoiceRow) -> dict[str, object]:
    return {"credit_note": credit_note_payload(note, lines, row.timezone)}
