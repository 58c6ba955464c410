"""A POST_PAID wallet pays an invoice after it was finalized, the provider what is left: in the books too."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlmodel import select

from activities.collection import open_attempt, settle
from activities.ports import Charged
from activities.refunds import NewRefund, create_refund
from activities.wallets import NewWallet, TopUp, create_wallet, top_up_wallet, update_wallet
from billing.errors import Conflict
from billing.wallets import WalletType
from models.database import Database
from models.queries.invoices import get_invoice
from models.scope import Scope
from models.tables import InvoiceRow, PaymentAttemptRow, PaymentRow, SubscriptionRow, WalletLotRow
from tests.models.books import START, Books

LATER = START + timedelta(days=1)


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A seat at 10 in advance, in dollars."""
    return await Books(database, scope, "usd").open(seat="10")


async def _wallet(books: Books, credits: str, *allowed: str) -> str:
    new = NewWallet(books.customer_id, "usd", wallet_type=WalletType.POST_PAID, initial_credits=Decimal(credits))
    async with books.database.transaction(books.scope) as session:
        wallet = (await create_wallet(session, books.scope, new, START)).id
        if allowed:
            await update_wallet(session, books.scope, wallet, {"allowed_price_types": list(allowed)}, START)
    return wallet


async def _due(books: Books, card: str | None = "pm_card_succeeds") -> InvoiceRow:
    """A finalized invoice of 10.00."""
    subscription = await books.subscribe()
    async with books.database.transaction(books.scope) as session:
        row = await session.get_one(SubscriptionRow, subscription)
        row.payment_gateway, row.gateway_payment_method_id = "sandbox" if card else None, card
    (draft,) = await books.invoices("DRAFT")
    return await books.finalize(draft.id, START)


async def _collect(books: Books, invoice_id: str, number: int = 1) -> tuple[InvoiceRow, PaymentAttemptRow | None]:
    """One attempt; what is left for the provider succeeds."""
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        opened = await open_attempt(session, row, number, LATER)
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        attempt = None if opened is None else await session.get_one(PaymentAttemptRow, opened[0].id)
        if attempt is not None:
            await settle(session, row, attempt, Charged("pi_1"), LATER)
        return row, attempt


async def _left(books: Books, wallet: str) -> Decimal:
    async with books.database.transaction(books.scope) as session:
        lots = (await session.exec(select(WalletLotRow).where(WalletLotRow.wallet_id == wallet))).all()
        return sum((lot.remaining for lot in lots), Decimal(0))


async def _payments(books: Books) -> list[tuple[str, Decimal, str]]:
    async with books.database.transaction(books.scope) as session:
        rows = (await session.exec(select(PaymentRow).order_by(PaymentRow.id))).all()
        return [(row.payment_method_type, row.amount, row.payment_status) for row in rows]


async def test_the_wallet_pays_what_it_can_and_the_card_the_rest(books: Books) -> None:
    wallet = await _wallet(books, "4")
    invoice = await _due(books)
    assert (invoice.total_prepaid_credits_applied, invoice.total) == (Decimal(0), Decimal(10))
    row, attempt = await _collect(books, invoice.id)
    assert attempt is not None
    assert attempt.amount == 6
    assert (row.payment_status, row.amount_paid, row.paid_at) == ("SUCCEEDED", Decimal(10), LATER)
    assert await _payments(books) == [
        ("CREDITS", Decimal(4), "SUCCEEDED"), ("CARD", Decimal(6), "SUCCEEDED"),
    ]  # fmt: skip
    assert await _left(books, wallet) == 0
    assert await books.credit() == 0
    assert await books.balances() == {
        "cash_in_transit:sandbox": Decimal(-6), "promotions": Decimal(-4), "deferred_revenue": Decimal(10),
    }  # fmt: skip


@pytest.mark.parametrize("card", ["pm_card_succeeds", None])
async def test_what_the_wallet_pays_alone_is_no_attempt_at_the_provider(books: Books, card: str | None) -> None:
    wallet = await _wallet(books, "25")
    invoice = await _due(books, card)
    assert invoice.next_action_at == START
    row, attempt = await _collect(books, invoice.id)
    assert attempt is None
    assert (row.payment_status, row.amount_paid, row.next_action_at) == ("SUCCEEDED", Decimal(10), None)
    assert await _left(books, wallet) == 15
    again, _ = await _collect(books, invoice.id)
    assert again.amount_paid == 10
    assert await _left(books, wallet) == 15


async def test_a_wallet_for_usage_leaves_the_seat_to_the_card(books: Books) -> None:
    wallet = await _wallet(books, "25", "USAGE")
    _, attempt = await _collect(books, (await _due(books)).id)
    assert attempt is not None
    assert (attempt.amount, await _left(books, wallet)) == (Decimal(10), Decimal(25))


async def test_a_charge_that_is_under_way_is_not_paid_by_the_wallet_as_well(books: Books) -> None:
    invoice = await _due(books)
    async with books.database.transaction(books.scope) as session:
        await open_attempt(session, await get_invoice(session, invoice.id, lock=True), 1, START)
    wallet = await _wallet(books, "25")
    row, attempt = await _collect(books, invoice.id, number=2)
    assert attempt is not None
    assert (attempt.attempt_number, row.amount_paid, await _left(books, wallet)) == (1, Decimal(10), Decimal(25))


async def test_a_part_stays_owed_until_there_is_more(books: Books) -> None:
    wallet = await _wallet(books, "4")
    invoice = await _due(books, card=None)
    row, _ = await _collect(books, invoice.id)
    assert (row.payment_status, row.amount_paid, row.next_action_at) == ("PENDING", Decimal(4), None)
    async with books.database.transaction(books.scope) as session:
        await top_up_wallet(session, books.scope, wallet, TopUp(Decimal(9), "PURCHASED_CREDIT_DIRECT"), LATER)
    row, _ = await _collect(books, invoice.id)
    assert (row.payment_status, row.amount_paid, await _left(books, wallet)) == ("SUCCEEDED", Decimal(10), Decimal(3))
    assert await books.credit() == 3


async def test_a_void_gives_back_what_the_wallet_paid_and_a_refund_does_not(books: Books) -> None:
    wallet = await _wallet(books, "4")
    invoice = await _due(books)
    await _collect(books, invoice.id)
    async with books.database.transaction(books.scope) as session:
        query = select(PaymentRow).where(PaymentRow.payment_method_type == "CREDITS")
        payment = (await session.exec(query)).one()
        with pytest.raises(Conflict, match="nothing is left of the payment"):
            await create_refund(session, books.scope, payment.id, NewRefund(), LATER)
    await books.void(invoice.id, LATER)
    assert await _left(books, wallet) == 0
    assert await books.credit() == 10  # in a PRE_PAID wallet that was made for it
