"""Credit notes in the database: what they post, what a repeated step does, and what the database itself refuses."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from activities.credit_notes import NewCreditNote, NoteLine, create_credit_note, finalize_credit_note, void_credit_note
from activities.crediting import CreditNoteActivities, FinalizeCreditNote, VoidCreditNote
from activities.exhaustion import exhaust
from activities.wallets import open_prepaid
from billing.credit_notes import CreditNoteReason, CreditNoteType
from billing.errors import Conflict, Invalid
from models.database import Database
from models.queries.credit_notes import get_credit_note, take_note_number
from models.queries.invoices import get_invoice, list_lines
from models.queries.subscriptions import find_subscription
from models.scope import Scope
from models.tables import CreditNoteRow, InvoiceRow, WebhookEventRow
from tests.models.books import START, Books

DAY = timedelta(days=1)
NOW = START + DAY
REASON = CreditNoteReason.SERVICE_ISSUE
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A plan with 18 % tax on top."""
    return await Books(database, scope, "usd").open(seat="100", service="4", tax="exclusive")


async def opened(books: Books) -> InvoiceRow:
    """The first invoice: a seat in advance, 100 + 18."""
    subscription = await books.subscribe()
    async with books.database.transaction(books.scope) as session:
        (row,) = (await session.exec(select(InvoiceRow).where(InvoiceRow.subscription_id == subscription))).all()
    return await books.finalize(row.id, START)


async def draft(books: Books, invoice: InvoiceRow, amount: str, *lines: NoteLine) -> CreditNoteRow:
    """A draft of a part of the invoice as a whole, or of `lines`."""
    new = NewCreditNote(invoice.id, REASON, lines or (NoteLine(Decimal(amount)),))
    async with books.database.transaction(books.scope) as session:
        return await create_credit_note(session, books.scope, new, NOW)


async def credit(books: Books, invoice: InvoiceRow, amount: str, *lines: NoteLine) -> CreditNoteRow:
    """A note that has taken effect."""
    note = await draft(books, invoice, amount, *lines)
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice.id, lock=True)
        note = await get_credit_note(session, note.id, lock=True)
        await finalize_credit_note(session, row, note, NOW)
    return note


async def void(books: Books, invoice: InvoiceRow, note: CreditNoteRow) -> None:
    """The note has no effect any more. Raises Conflict."""
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice.id, lock=True)
        await void_credit_note(session, row, await get_credit_note(session, note.id, lock=True), NOW)


async def invoice_now(books: Books, invoice: InvoiceRow) -> InvoiceRow:
    async with books.database.transaction(books.scope) as session:
        return await get_invoice(session, invoice.id)


async def test_an_adjustment_takes_back_revenue_and_its_tax(books: Books) -> None:
    invoice = await opened(books)
    before = await books.balances()
    for amount, tax in (("0.01", "0"), ("59", "9"), ("58.99", "9")):
        assert (await credit(books, invoice, amount)).tax_amount == Decimal(tax)
    after = await books.balances()
    assert before["accounts_receivable"] == -118
    # all of the invoice: nothing is owed, no tax either, and 100 of revenue is given back
    assert (after.get("accounts_receivable"), after.get("tax_payable"), after["refunds"]) == (None, None, Decimal(-100))
    row = await invoice_now(books, invoice)
    assert (row.payment_status, row.adjustment_amount, row.amount_paid, row.paid_at) == (
        "SUCCEEDED",
        Decimal(118),
        Decimal(0),
        NOW,
    )


async def test_a_note_of_a_line_has_the_lines_tax(books: Books) -> None:
    invoice = await opened(books)
    async with books.database.transaction(books.scope) as session:
        (line,) = await list_lines(session, invoice.id)
    note = await credit(books, invoice, "", NoteLine(Decimal("11.8"), line.id))
    assert (note.tax_amount, note.credit_note_number) == (Decimal("1.8"), "CN-202502-00001")
    with pytest.raises(Invalid) as refused:
        await draft(books, invoice, "", NoteLine(Decimal("106.21"), line.id))
    assert refused.value.field == "line_items[0].amount"


async def test_a_refund_is_the_customers_credit(books: Books) -> None:
    invoice = await opened(books)
    await books.pay(invoice.id, NOW)
    note = await credit(books, invoice, "59")
    assert (note.credit_note_type, await books.credit()) == ("REFUND", Decimal(59))
    balances = await books.balances()
    assert (balances["refunds"], balances["tax_payable"]) == (Decimal(-50), Decimal(9))
    row = await invoice_now(books, invoice)
    assert (row.payment_status, row.refunded_amount) == ("PARTIALLY_REFUNDED", Decimal(59))


@pytest.mark.parametrize("paid", [True, False])
async def test_a_void_takes_notes_into_account(books: Books, paid: bool) -> None:
    """Nothing is owed and nothing earned afterwards: the customer has as credit what was paid, once."""
    invoice = await opened(books)
    await credit(books, invoice, "10")
    if paid:
        await books.pay(invoice.id, NOW)
        await credit(books, invoice, "20")
    await books.void(invoice.id, NOW)
    given = Decimal(108) if paid else Decimal(0)
    assert await books.credit() == given
    cash = {"cash_in_transit:offline": -given, "customer_credit": given} if paid else {}
    assert await books.balances() == cash


async def test_what_was_written_off_is_no_loss_as_far_as_it_is_credited(books: Books) -> None:
    invoice = await opened(books)
    async with books.database.transaction(books.scope) as session:
        await exhaust(session, await get_invoice(session, invoice.id, lock=True), NOW)
    assert (await books.balances())["bad_debt"] == -118
    note = await credit(books, invoice, "18")
    assert (await books.balances())["bad_debt"] == -100
    with pytest.raises(Conflict, match="written off"):
        await void(books, invoice, note)
    await credit(books, invoice, "100")
    assert "bad_debt" not in await books.balances()
    assert not (await invoice_now(books, invoice)).uncollectible


async def test_a_void_note_has_never_been(books: Books) -> None:
    invoice = await opened(books)
    before = await books.balances()
    await void(books, invoice, await credit(books, invoice, "50"))
    assert await books.balances() == before
    assert (await invoice_now(books, invoice)).adjustment_amount == 0
    await books.void(invoice.id, NOW)
    assert await books.balances() == {}


async def test_a_repeated_step_changes_nothing(books: Books) -> None:
    """The worker died after its transaction: the same command again, by another."""
    invoice = await opened(books)
    note = await draft(books, invoice, "50")
    activities = CreditNoteActivities(books.database)
    command = FinalizeCreditNote(books.scope, invoice.id, note.id, "c1", NOW)
    first = await activities.finalize(command)
    balances = await books.balances()
    assert await activities.finalize(command) == first
    assert await books.balances() == balances
    with pytest.raises(Conflict, match="it must be a DRAFT"):
        await activities.finalize(replace(command, command_id="c2"))
    void = VoidCreditNote(books.scope, invoice.id, note.id, "c3", NOW)
    assert await activities.void(void) == await activities.void(void)
    async with books.database.transaction(books.scope) as session:
        told = (await session.exec(select(WebhookEventRow).where(WebhookEventRow.entity_id == note.id))).all()
    assert [row.event_type for row in told] == ["credit_note.created", "credit_note.updated", "credit_note.updated"]


@pytest.mark.parametrize("paid", [True, False])
async def test_a_note_waits_for_nobody_who_waits_for_its_number(books: Books, paid: bool) -> None:
    """A close that credits late usage has the customer's wallet, or the subscription, and then takes such a number."""
    invoice = await opened(books)
    if paid:
        await books.pay(invoice.id, NOW)
        await credit(books, invoice, "10")
    note = await draft(books, invoice, "50" if paid else "118")
    command = FinalizeCreditNote(books.scope, invoice.id, note.id, "c1", NOW)
    async with books.database.transaction(books.scope) as close:
        if paid:
            await open_prepaid(close, invoice)
        else:
            await find_subscription(close, invoice.subscription_id or "", lock=True)
        finalizing = asyncio.create_task(CreditNoteActivities(books.database).finalize(command))
        async with asyncio.timeout(30):
            while not (await close.execute(WAITING)).scalar_one():  # noqa: ASYNC110 (the database tells nobody)
                await asyncio.sleep(0.01)
        taken = await take_note_number(close, books.scope, f"{NOW:%Y%m}")
    await finalizing
    async with books.database.transaction(books.scope) as session:
        number = (await get_credit_note(session, note.id)).credit_note_number
    assert number == f"CN-{NOW:%Y%m}-{taken + 1:05d}"


async def test_an_attempt_under_way_comes_first(books: Books) -> None:
    invoice = await opened(books)
    note = await draft(books, invoice, "50")
    async with books.database.transaction(books.scope) as session:
        (await get_invoice(session, invoice.id, lock=True)).payment_status = "PROCESSING"
    with pytest.raises(Conflict, match="under way"):
        await draft(books, invoice, "1")
    command = FinalizeCreditNote(books.scope, invoice.id, note.id, "c1", NOW)
    with pytest.raises(Conflict, match="under way"):
        await CreditNoteActivities(books.database).finalize(command)


REFUSED = {
    "another amount": "UPDATE credit_notes SET total_amount = 1 WHERE id = :note",
    "a draft again": "UPDATE credit_notes SET credit_note_status = 'DRAFT', credit_note_number = NULL,"
    " finalized_at = NULL WHERE id = :note",
    "another number": "UPDATE credit_notes SET credit_note_number = 'CN-202502-00009' WHERE id = :note",
    "deleted": "DELETE FROM credit_notes WHERE id = :note",
    "another line's amount": "UPDATE credit_note_lines SET amount = 1 WHERE credit_note_id = :note",
    "adjusted without a note": "UPDATE invoices SET adjustment_amount = 60 WHERE id = :invoice",
    "adjusted beyond what is due": "UPDATE invoices SET adjustment_amount = 119 WHERE id = :invoice",
    "a note without its adjustment": "UPDATE credit_notes SET credit_note_status = 'VOIDED', voided_at = now()"
    " WHERE id = :note",
    "a draft with an effect": "UPDATE credit_notes SET credit_note_status = 'FINALIZED',"
    " credit_note_number = 'CN-202502-00002', finalized_at = now() WHERE id = :draft",
    "finalized without a number": "UPDATE credit_notes SET credit_note_status = 'FINALIZED', finalized_at = now()"
    " WHERE id = :draft",
    "a line more": "INSERT INTO credit_note_lines (tenant_id, environment_id, id, status, created_at, updated_at,"
    " created_by, updated_by, credit_note_id, position, display_name, amount, currency, line_metadata)"
    " SELECT tenant_id, environment_id, 'x', status, created_at, updated_at, '', '', credit_note_id, 9, '', 1,"
    " currency, '{}'"
    " FROM credit_note_lines WHERE credit_note_id = :note",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
async def test_the_database_refuses(books: Books, statement: str) -> None:
    invoice = await opened(books)
    note, waiting = await credit(books, invoice, "50"), await draft(books, invoice, "5")
    values = {"note": note.id, "draft": waiting.id, "invoice": invoice.id}
    bound = text(statement).bindparams(**{name: value for name, value in values.items() if f":{name}" in statement})
    with pytest.raises(DBAPIError, match=r"credit note|append-only|adjusted|status_fits"):
        async with books.database.transaction(books.scope) as session:
            await session.execute(bound)
    assert (await invoice_now(books, invoice)).adjustment_amount == 50


async def test_types_follow_from_what_was_paid(books: Books) -> None:
    invoice = await opened(books)
    adjusting = NewCreditNote(invoice.id, REASON, (NoteLine(Decimal(1)),), CreditNoteType.REFUND)
    with pytest.raises(Conflict, match="nothing is left of what was paid"):
        async with books.database.transaction(books.scope) as session:
            await create_credit_note(session, books.scope, adjusting, datetime.now(UTC))
    assert (await draft(books, invoice, "1")).credit_note_type == "ADJUSTMENT"
    await books.pay(invoice.id, NOW)
    assert (await draft(books, invoice, "1")).credit_note_type == "REFUND"
