"""Voids and money beyond what is owed: all of it is the customer's, in the wallet and in the books, and only once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import pytest
from sqlmodel import select

from activities.collection import open_attempt, settle
from activities.disputes import record_dispute
from activities.payloads import invoice_payload
from activities.ports import ActionRequired, Charged, ChargeOutcome, Disputed, RefundDeclined, Refunded
from activities.receipts import NewPayment, record_payment
from activities.refunds import NewRefund, cancel_refund, create_refund, retry_refund, settle_refund
from activities.wallet_books import Cause
from activities.wallets import debit_wallet
from billing.errors import Conflict, Invalid
from models.database import Database
from models.queries.invoices import get_invoice
from models.queries.payments import list_attempts_of_invoice
from models.queries.refunds import get_refund
from models.scope import Scope
from models.tables import (
    InvoiceRow,
    PaymentRow,
    RefundRow,
    SubscriptionRow,
    WalletRow,
    WalletTransactionRow,
    WebhookEventRow,
)
from tests.models.books import START, Books

LATER = START + timedelta(days=1)
MIDDLE = datetime(2025, 2, 14, tzinfo=UTC)
CONFIRM = ActionRequired("https://bank.example/confirm", "pi_1")


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A seat at 10 in advance and a service at 4 in arrears, in dollars."""
    return await Books(database, scope, "usd").open(seat="10")


async def _due(books: Books) -> str:
    """A finalized invoice of 10.00 that a card pays."""
    subscription = await books.subscribe()
    async with books.database.transaction(books.scope) as session:
        row = await session.get_one(SubscriptionRow, subscription)
        row.payment_gateway, row.gateway_payment_method_id = "sandbox", "pm_card_succeeds"
    (draft,) = await books.invoices("DRAFT")
    return (await books.finalize(draft.id, START)).id


async def _charged(books: Books, invoice_id: str, outcome: ChargeOutcome, number: int = 1) -> InvoiceRow:
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        opened = await open_attempt(session, row, number, START)
        attempt = opened[0] if opened else (await list_attempts_of_invoice(session, invoice_id))[number - 1]
        await settle(session, row, attempt, outcome, LATER)
        return row


async def _by_hand(books: Books, invoice_id: str, amount: str) -> InvoiceRow:
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        await record_payment(session, row, NewPayment(Decimal(amount)), LATER)
        return row


async def _refund(books: Books, invoice_id: str, amount: str | None = None) -> RefundRow:
    async with books.database.transaction(books.scope) as session:
        query = select(PaymentRow).where(PaymentRow.destination_id == invoice_id)
        payment = (await session.exec(query)).one()
        new = NewRefund(None if amount is None else Decimal(amount))
        return await create_refund(session, books.scope, payment.id, new, LATER)


async def _settled(books: Books, refund: RefundRow, outcome: Refunded | RefundDeclined) -> None:
    async with books.database.transaction(books.scope) as session:
        invoice = await get_invoice(session, refund.invoice_id, lock=True)
        await settle_refund(session, invoice, await get_refund(session, refund.id, lock=True), outcome, LATER)


async def _disputed(books: Books, invoice_id: str, state: Literal["needs_response", "lost"]) -> None:
    told = Disputed("dp_1", "pi_1", Decimal(10), "usd", "fraudulent", state, LATER)
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        attempt = (await list_attempts_of_invoice(session, invoice_id))[0]
        await record_dispute(session, row, attempt, told, LATER)


async def _invoice(books: Books, invoice_id: str) -> InvoiceRow:
    async with books.database.transaction(books.scope) as session:
        return await get_invoice(session, invoice_id)


async def _wallet(books: Books) -> list[tuple[str, Decimal, str, str]]:
    """The customer's transactions: reason, credits, and what they are about."""
    async with books.database.transaction(books.scope) as session:
        rows = (await session.exec(select(WalletTransactionRow).order_by(WalletTransactionRow.id))).all()
        wallets = (await session.exec(select(WalletRow.allowed_price_types))).all()
    assert all(allowed == ["ALL"] for allowed in wallets)
    return [(row.transaction_reason, row.credits, row.reference_type, row.reference_id) for row in rows]


async def test_what_was_paid_of_a_void_invoice_is_in_the_wallet(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    await books.void(invoice, LATER)
    row = await _invoice(books, invoice)
    assert (row.invoice_status, row.payment_status, row.amount_paid) == ("VOIDED", "REFUNDED", Decimal(10))
    assert (row.refunded_amount, row.voided_at, row.next_action_at) == (Decimal(10), LATER, None)
    assert await _wallet(books) == [("INVOICE_VOID_REFUND", Decimal(10), "INVOICE", invoice)]
    assert await books.balances() == {"cash_in_transit:sandbox": Decimal(-10), "customer_credit": Decimal(10)}
    assert await books.deferred() == 0
    async with books.database.transaction(books.scope) as session:
        told = [each.event_type for each in (await session.exec(select(WebhookEventRow))).all()]
    assert {"invoice.update.voided", "wallet.created", "wallet.transaction.created"} <= set(told)


async def test_a_void_is_once(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    await books.void(invoice, LATER)
    with pytest.raises(Conflict, match="void is not possible: invoice_status is VOIDED; possible now: nothing"):
        await books.void(invoice, LATER)
    assert len(await _wallet(books)) == 1


async def test_what_went_to_the_wallet_is_not_refunded_as_well(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    await books.void(invoice, LATER)
    with pytest.raises(Conflict, match="it has gone back, or to the customer's wallet"):
        await _refund(books, invoice)


async def test_a_part_that_was_paid_is_given_back(books: Books) -> None:
    invoice = await _due(books)
    row = await _by_hand(books, invoice, "4")
    assert (row.payment_status, row.amount_paid) == ("PENDING", Decimal(4))
    await books.void(invoice, LATER)
    assert (await _invoice(books, invoice)).payment_status == "VOIDED"
    assert await _wallet(books) == [("INVOICE_VOID_REFUND", Decimal(4), "INVOICE", invoice)]
    assert await books.balances() == {"cash_in_transit:offline": Decimal(-4), "customer_credit": Decimal(4)}


async def test_what_was_refunded_before_is_not_given_back_again(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    refund = await _refund(books, invoice, "3")
    with pytest.raises(Conflict, match=f"refund {refund.id} is PENDING; void it once that is settled"):
        await books.void(invoice, LATER)
    await _settled(books, refund, Refunded("re_1"))
    await books.void(invoice, LATER)
    assert [each[1] for each in await _wallet(books)] == [Decimal(7)]
    assert await books.balances() == {"cash_in_transit:sandbox": Decimal(-7), "customer_credit": Decimal(7)}


async def test_a_refund_that_failed_is_decided_before_the_void(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    refund = await _refund(books, invoice)
    await _settled(books, refund, RefundDeclined("closed"))
    with pytest.raises(Conflict, match=f"refund {refund.id} is FAILED; void it once that was retried or cancelled"):
        await books.void(invoice, LATER)


async def test_a_failed_refund_is_retried_only_while_there_is_money(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    failed = await _refund(books, invoice)
    await _settled(books, failed, RefundDeclined("closed"))
    await _settled(books, await _refund(books, invoice), Refunded("re_2"))
    with pytest.raises(Conflict, match="nothing is left of the payment"):
        async with books.database.transaction(books.scope) as session:
            await retry_refund(session, failed.id)


async def test_what_a_bank_took_back_is_not_given_back(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    await _disputed(books, invoice, "needs_response")
    with pytest.raises(Conflict, match=r"dispute \w+ is open; void the invoice once the bank has decided"):
        await books.void(invoice, LATER)
    await _disputed(books, invoice, "lost")
    await books.void(invoice, LATER)
    assert await _wallet(books) == []
    assert await books.balances() == {}
    with pytest.raises(Conflict, match="nothing is left of the payment"):
        await _refund(books, invoice)


async def test_a_bank_that_takes_back_what_a_void_gave_leaves_a_person_to_act(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, Charged("pi_1"))
    await books.void(invoice, LATER)
    await _disputed(books, invoice, "lost")
    row = await _invoice(books, invoice)
    assert row.needs_attention is not None
    assert (
        "after the void of the invoice had given it to the customer's wallet: debit what is left" in row.needs_attention
    )
    assert (await books.balances())["dispute_losses"] == -10


async def test_an_overpayment_by_hand_goes_to_the_wallet(books: Books) -> None:
    invoice = await _due(books)
    row = await _by_hand(books, invoice, "25")
    assert (row.payment_status, row.amount_paid, row.needs_attention) == ("SUCCEEDED", Decimal(10), None)
    assert invoice_payload(row)["amount_remaining"] == "0"
    ((reason, credits, kind, _),) = await _wallet(books)
    assert (reason, credits, kind) == ("CREDIT_ADJUSTMENT", Decimal(15), "PAYMENT")
    balances = await books.balances()
    assert (balances["cash_in_transit:offline"], balances["customer_credit"]) == (Decimal(-25), Decimal(15))
    assert "accounts_receivable" not in balances
    await books.void(invoice, LATER)
    assert [each[1] for each in await _wallet(books)] == [Decimal(15), Decimal(10)]
    assert await books.balances() == {"cash_in_transit:offline": Decimal(-25), "customer_credit": Decimal(25)}


async def test_money_that_a_provider_takes_twice_goes_to_the_wallet(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, CONFIRM)
    await _by_hand(books, invoice, "10")
    row = await _charged(books, invoice, Charged("pi_1"))
    assert (row.payment_status, row.amount_paid, row.paid_at) == ("SUCCEEDED", Decimal(10), LATER)
    assert [each[:3] for each in await _wallet(books)] == [("CREDIT_ADJUSTMENT", Decimal(10), "PAYMENT")]
    balances = await books.balances()
    assert (balances["customer_credit"], balances.get("accounts_receivable")) == (Decimal(10), None)


async def test_late_money_does_not_undo_a_refund(books: Books) -> None:
    """The invoice stays as the refund left it; what comes after is credit."""
    invoice = await _due(books)
    await _charged(books, invoice, CONFIRM)
    await _by_hand(books, invoice, "10")
    async with books.database.transaction(books.scope) as session:
        query = select(PaymentRow).where(PaymentRow.payment_method_type == "OFFLINE")
        payment = (await session.exec(query)).one()
        await create_refund(session, books.scope, payment.id, NewRefund(Decimal(4)), LATER)
    row = await _charged(books, invoice, Charged("pi_1"))
    assert (row.payment_status, row.amount_paid, row.refunded_amount) == ("PARTIALLY_REFUNDED", Decimal(10), Decimal(4))
    assert [each[1] for each in await _wallet(books)] == [Decimal(10)]


async def test_a_credit_stays_given_when_its_invoice_is_void(database: Database, scope: Scope) -> None:
    """10 paid, half of it credited on a final invoice that charges 50: its void gives back the 45 paid and the 5."""
    books = await Books(database, scope, "usd").open(seat="10", service="100")
    subscription = await books.subscribe()
    (opening,) = await books.invoices("DRAFT")
    await books.finalize(opening.id, START)
    await books.pay(opening.id, START)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    await books.finalize(final, MIDDLE)
    await books.pay(final, MIDDLE)
    assert (await books.balances())["cash_in_transit:offline"] == -55
    await books.void(final, MIDDLE)
    assert await books.deferred() == 5
    assert [each[1] for each in await _wallet(books)] == [Decimal(50)]
    await books.void(opening.id, MIDDLE)
    assert [each[1] for each in await _wallet(books)] == [Decimal(50), Decimal(5)]
    assert await books.balances() == {"cash_in_transit:offline": Decimal(-55), "customer_credit": Decimal(55)}
    assert await books.deferred() == 0


async def test_what_was_credited_and_never_paid_is_not_voided_away(books: Books) -> None:
    subscription = await books.subscribe()
    (opening,) = await books.invoices("DRAFT")
    await books.finalize(opening.id, START)
    await books.cancel(subscription, MIDDLE, credit=True)
    with pytest.raises(Conflict, match="5 of the invoice were credited already, and 5 of that were never paid"):
        await books.void(opening.id, MIDDLE)


async def test_a_draft_that_is_void_gives_its_credit(books: Books) -> None:
    subscription = await books.subscribe()
    (opening,) = await books.invoices("DRAFT")
    await books.finalize(opening.id, START)
    await books.pay(opening.id, START)
    final = await books.cancel(subscription, MIDDLE, credit=True)
    await books.void(final, MIDDLE)
    assert await _wallet(books) == [("INVOICE_VOID_REFUND", Decimal(5), "INVOICE", final)]
    assert await books.deferred() == 5
    assert (await books.balances())["customer_credit"] == 5


async def test_what_was_paid_beyond_goes_back_out_of_the_wallet_first(books: Books) -> None:
    """25 for 10: 15 are credit. 20 go back: those 15, and 5 of the invoice."""
    invoice = await _due(books)
    await _by_hand(books, invoice, "25")
    refund = await _refund(books, invoice, "20")
    assert refund.refund_status == "SUCCEEDED"
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.refunded_amount) == ("PARTIALLY_REFUNDED", Decimal(5))
    assert await books.credit() == 0
    assert await books.balances() == {
        "cash_in_transit:offline": Decimal(-5), "refunds": Decimal(-5), "deferred_revenue": Decimal(10),
    }  # fmt: skip
    assert (await _refund(books, invoice)).amount == 5
    with pytest.raises(Conflict, match="nothing is left of the payment"):
        await _refund(books, invoice)


async def test_credit_that_was_spent_does_not_go_back(books: Books) -> None:
    invoice = await _due(books)
    await _by_hand(books, invoice, "25")
    async with books.database.transaction(books.scope) as session:
        wallet = (await session.exec(select(WalletRow))).one()
        await debit_wallet(session, books.scope, wallet.id, Decimal(12), Cause(idempotency_key="spent"), LATER)
    with pytest.raises(Invalid, match="at most 13 usd"):
        await _refund(books, invoice, "13.01")
    assert (await _refund(books, invoice)).amount == 13


async def test_a_refund_out_of_the_wallet_that_is_given_up_is_credit_again(books: Books) -> None:
    invoice = await _due(books)
    await _charged(books, invoice, CONFIRM)
    await _by_hand(books, invoice, "10")
    await _charged(books, invoice, Charged("pi_1"))
    assert await books.credit() == 10
    async with books.database.transaction(books.scope) as session:
        payment = (await session.exec(select(PaymentRow).where(PaymentRow.payment_gateway == "sandbox"))).one()
        refund = await create_refund(session, books.scope, payment.id, NewRefund(), LATER)
    assert (refund.amount, await books.credit()) == (Decimal(10), Decimal(0))
    assert (await books.balances())["refunds_payable"] == 10
    await _settled(books, refund, RefundDeclined("closed"))
    async with books.database.transaction(books.scope) as session:
        await retry_refund(session, refund.id)
    await _settled(books, refund, RefundDeclined("closed"))
    async with books.database.transaction(books.scope) as session:
        await cancel_refund(session, refund.id, LATER)
    assert await books.credit() == 10
    assert "refunds_payable" not in await books.balances()
    row = await _invoice(books, invoice)
    assert (row.payment_status, row.refunded_amount) == ("SUCCEEDED", Decimal(0))
    async with books.database.transaction(books.scope) as session:
        again = await create_refund(session, books.scope, payment.id, NewRefund(), LATER)
    await _settled(books, again, Refunded("re_1"))
    assert await books.credit() == 0
    assert (await _invoice(books, invoice)).payment_status == "SUCCEEDED"
