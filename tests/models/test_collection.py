"""What a charge comes to when other things happened while the provider worked on it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from activities.collection import open_attempt, settle
from activities.ports import ActionRequired, Charged, ChargeOutcome, Declined
from activities.receipts import NewPayment, record_payment
from activities.settings import save_billing_settings
from billing.errors import Conflict
from models.database import Database, Scope
from models.queries.invoices import get_invoice
from models.queries.payments import list_attempts_of_invoice
from models.tables import InvoiceRow, SubscriptionRow
from tests.models.books import START, Books

LATER = START + timedelta(hours=1)
CONFIRM = ActionRequired("https://bank.example/confirm", "pi_1")
CHARGED = Charged("pi_1")


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A seat at 10 in advance, in dollars."""
    return await Books(database, scope, "usd").open(seat="10")


async def _due(books: Books) -> str:
    """A finalized invoice of 10.00 that a card pays."""
    subscription = await books.subscribe()
    async with books.database.transaction(books.scope) as session:
        row = await session.get_one(SubscriptionRow, subscription)
        row.payment_gateway, row.gateway_payment_method_id = "sandbox", "pm_card_succeeds"
    (draft,) = await books.invoices("DRAFT")
    return (await books.finalize(draft.id, START)).id


async def _attempt(books: Books, invoice_id: str, number: int, outcome: ChargeOutcome) -> None:
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        opened = await open_attempt(session, row, number, START)
        attempt = opened[0] if opened else (await list_attempts_of_invoice(session, invoice_id))[number - 1]
        await settle(session, row, attempt, outcome, LATER)


async def _invoice(books: Books, invoice_id: str) -> InvoiceRow:
    async with books.database.transaction(books.scope) as session:
        return await get_invoice(session, invoice_id)


async def test_a_payment_that_the_customer_confirms_pays_the_invoice(books: Books) -> None:
    invoice = await _due(books)
    await _attempt(books, invoice, 1, CONFIRM)
    assert (await _invoice(books, invoice)).payment_status == "PENDING"
    await _attempt(books, invoice, 1, CHARGED)
    await _attempt(books, invoice, 1, CHARGED)  # told twice
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.amount_paid, row.paid_at, row.needs_attention) == (
        "SUCCEEDED",
        Decimal(10),
        LATER,
        None,
    )
    assert (await books.balances())["cash_in_transit:sandbox"] == -10


async def test_money_for_a_voided_invoice_is_refunded(books: Books) -> None:
    invoice = await _due(books)
    await _attempt(books, invoice, 1, CONFIRM)
    await books.void(invoice, START)
    await _attempt(books, invoice, 1, CHARGED)
    row = await _invoice(books, invoice)
    assert (row.invoice_status, row.payment_status, row.paid_at) == ("VOIDED", "OVERPAID", None)
    assert "10 usd came after the invoice was voided: refund refund_" in str(row.needs_attention)


@pytest.mark.parametrize("late", [CONFIRM, Declined("expired", "soft", "pi_1"), Declined("lost card", "hard", "pi_1")])
@pytest.mark.parametrize("settled", ["pay", "void"])
async def test_a_late_refusal_leaves_a_settled_invoice_alone(books: Books, settled: str, late: ChargeOutcome) -> None:
    invoice = await _due(books)
    await _attempt(books, invoice, 1, CONFIRM)
    await getattr(books, settled)(invoice, START)
    before = await _invoice(books, invoice)
    await _attempt(books, invoice, 1, late)
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.next_action_at) == (before.payment_status, None)
    assert (row.uncollectible, row.needs_attention) == (False, None)
    assert (await books.subscription(str(row.subscription_id))).subscription_status == "active"


async def test_an_invoice_is_not_voided_while_a_charge_is_under_way(books: Books) -> None:
    invoice = await _due(books)
    async with books.database.transaction(books.scope) as session:
        await open_attempt(session, await get_invoice(session, invoice, lock=True), 1, START)
    with pytest.raises(Conflict, match="the invoice is being paid"):
        await books.void(invoice, LATER)
    with pytest.raises(Conflict, match="while an attempt at the provider is under way"):
        await books.pay(invoice, LATER)


DECLINED = Declined("insufficient_funds", "soft", "pi_1")


async def test_money_that_comes_after_a_refusal_is_booked(books: Books) -> None:
    invoice = await _due(books)
    await _attempt(books, invoice, 1, DECLINED)
    await _attempt(books, invoice, 1, CHARGED)  # the bank let it through after all
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.amount_paid, row.next_action_at) == ("SUCCEEDED", Decimal(10), None)
    assert (await books.balances())["cash_in_transit:sandbox"] == Decimal(-10)


async def test_both_attempts_charged_are_both_in_the_books(books: Books) -> None:
    invoice = await _due(books)
    await _attempt(books, invoice, 1, DECLINED)
    await _attempt(books, invoice, 2, Charged("pi_2"))
    await _attempt(books, invoice, 1, CHARGED)
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.amount_paid) == ("SUCCEEDED", Decimal(10))
    balances = await books.balances()
    assert (balances["cash_in_transit:sandbox"], balances["customer_credit"]) == (Decimal(-20), Decimal(10))


@pytest.mark.parametrize(("policy", "after"), [("keep", "active"), ("cancel", "cancelled")])
async def test_money_that_comes_after_the_write_off_is_booked_and_revives_no_subscription(
    books: Books, policy: str, after: str
) -> None:
    async with books.database.transaction(books.scope) as session:
        await save_billing_settings(session, books.scope, {"dunning_days": [], "on_exhausted_subscription": policy})
    invoice = await _due(books)
    await _attempt(books, invoice, 1, DECLINED)
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.uncollectible, row.next_action_at) == ("FAILED", True, None)
    assert "accounts_receivable" not in await books.balances()
    assert (await books.balances())["bad_debt"] == -10
    standing = "past_due" if policy == "keep" else "cancelled"
    assert (await books.subscription(str(row.subscription_id))).subscription_status == standing

    await _attempt(books, invoice, 1, CHARGED)  # the bank let it through after all

    row = await _invoice(books, invoice)
    assert (row.payment_status, row.uncollectible, row.amount_paid) == ("SUCCEEDED", False, Decimal(10))
    assert (await books.subscription(str(row.subscription_id))).subscription_status == after
    assert (await books.balances()).keys() == {"cash_in_transit:sandbox", "deferred_revenue"}


async def _written_off(books: Books) -> str:
    """An invoice of 10.00 whose card was declined once too often."""
    async with books.database.transaction(books.scope) as session:
        await save_billing_settings(session, books.scope, {"dunning_days": []})
    invoice = await _due(books)
    await _attempt(books, invoice, 1, DECLINED)
    return invoice


async def test_what_was_written_off_is_written_off_once_and_comes_back_by_parts(books: Books) -> None:
    invoice = await _written_off(books)
    await _attempt(books, invoice, 2, DECLINED)  # by hand, in vain
    assert (await books.balances())["bad_debt"] == -10
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice, lock=True)
        await record_payment(session, row, NewPayment(Decimal(4)), LATER)
    assert (await _invoice(books, invoice)).uncollectible
    assert (await books.balances())["bad_debt"] == -6

    await books.pay(invoice, LATER, beyond=Decimal(3))

    assert not (await _invoice(books, invoice)).uncollectible
    assert await books.balances() == {
        "cash_in_transit:offline": Decimal(-13), "deferred_revenue": Decimal(10), "customer_credit": Decimal(3),
    }  # fmt: skip


async def test_a_void_of_what_was_written_off_leaves_nothing(books: Books) -> None:
    invoice = await _written_off(books)
    await books.void(invoice, LATER)
    assert not (await _invoice(books, invoice)).uncollectible
    assert await books.balances() == {}
    assert await books.deferred() == 0
