"""Refunds and disputes in the books: no more goes back than came, and every cent of it is posted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlmodel import select

from activities.collection import open_attempt, settle
from activities.disputes import record_dispute
from activities.payments import take_in_facts
from activities.ports import (
    Charged,
    ChargeOutcome,
    Declined,
    Disputed,
    ProviderEvent,
    RefundDeclined,
    Refunded,
    RefundPending,
    RefundTold,
)
from activities.provider_events import store_provider_event
from activities.refunds import NewRefund, cancel_refund, create_refund, retry_refund, settle_refund
from billing.errors import Conflict, Invalid
from models.database import Database
from models.queries.invoices import get_invoice
from models.queries.payments import find_provider_payment, get_payment, list_attempts_of_invoice
from models.queries.refunds import get_refund
from models.scope import Scope
from models.tables import DisputeRow, InvoiceRow, PaymentRow, RefundRow, SubscriptionRow
from tests.models.books import START, Books

LATER = START + timedelta(days=1)
CHARGED = Charged("pi_1")


@pytest.fixture
async def books(database: Database, scope: Scope) -> Books:
    """A seat at 10 in advance, in dollars."""
    return await Books(database, scope, "usd").open(seat="10")


async def _charged(books: Books, *outcomes: ChargeOutcome) -> str:
    """A finalized invoice of 10.00 whose attempts came to these. Returns its id."""
    subscription = await books.subscribe()
    async with books.database.transaction(books.scope) as session:
        row = await session.get_one(SubscriptionRow, subscription)
        row.payment_gateway, row.gateway_payment_method_id = "sandbox", "pm_card_succeeds"
    (draft,) = await books.invoices("DRAFT")
    invoice = (await books.finalize(draft.id, START)).id
    for number, outcome in enumerate(outcomes, 1):
        await _attempt(books, invoice, number, outcome)
    return invoice


async def _attempt(books: Books, invoice_id: str, number: int, outcome: ChargeOutcome) -> None:
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        opened = await open_attempt(session, row, number, START)
        attempt = opened[0] if opened else (await list_attempts_of_invoice(session, invoice_id))[number - 1]
        await settle(session, row, attempt, outcome, LATER)


async def _refund(books: Books, invoice_id: str, new: NewRefund) -> RefundRow:
    async with books.database.transaction(books.scope) as session:
        payment = await find_provider_payment(session, invoice_id)
        assert payment is not None
        return await create_refund(session, books.scope, payment.id, new, LATER)


async def _settle(
    books: Books, refund: RefundRow, outcome: Refunded | RefundPending | RefundDeclined
) -> tuple[RefundRow, InvoiceRow, PaymentRow]:
    async with books.database.transaction(books.scope) as session:
        invoice = await get_invoice(session, refund.invoice_id, lock=True)
        row = await get_refund(session, refund.id, lock=True)
        await settle_refund(session, invoice, row, outcome, LATER)
        return row, invoice, await get_payment(session, row.payment_id)


async def test_a_payment_goes_back_in_parts_and_no_further(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    first = await _refund(books, invoice, NewRefund(Decimal(4)))
    with pytest.raises(Invalid, match="at most 6 usd"):  # 10 less the 4 that are under way
        await _refund(books, invoice, NewRefund(Decimal("6.01")))
    row, paid, payment = await _settle(books, first, Refunded("re_1"))
    assert (row.refund_status, row.gateway_refund_id, row.attempt_id) == ("SUCCEEDED", "re_1", row.attempt_id)
    assert (paid.payment_status, paid.refunded_amount, paid.amount_paid) == (
        "PARTIALLY_REFUNDED",
        Decimal(4),
        Decimal(10),
    )
    assert (payment.payment_status, payment.refunded_at) == ("PARTIALLY_REFUNDED", LATER)

    _, paid, payment = await _settle(books, await _refund(books, invoice, NewRefund()), Refunded("re_2"))
    assert (paid.payment_status, paid.refunded_amount, payment.payment_status) == ("REFUNDED", Decimal(10), "REFUNDED")
    with pytest.raises(Conflict, match="nothing is left of the payment"):
        await _refund(books, invoice, NewRefund())
    # 10 came and went; the revenue of the seat stands, less what was given back.
    balances = await books.balances()
    assert (balances.get("cash_in_transit:sandbox"), balances["refunds"]) == (None, Decimal(-10))


async def test_what_was_charged_twice_goes_back_charge_by_charge(books: Books) -> None:
    declined = Declined("insufficient_funds", "soft", "pi_1")
    invoice = await _charged(books, declined, Charged("pi_2"))
    await _attempt(books, invoice, 1, CHARGED)  # the bank let the first through after all
    with pytest.raises(Invalid, match="at most 10 usd: the payment was charged 2 times"):
        await _refund(books, invoice, NewRefund(Decimal(20)))

    refund = await _refund(books, invoice, NewRefund(Decimal(10)))
    _, paid, payment = await _settle(books, refund, Refunded("re_1"))

    assert (paid.payment_status, paid.needs_attention, payment.payment_status) == (
        "SUCCEEDED", None, "PARTIALLY_REFUNDED",
    )  # fmt: skip
    balances = await books.balances()
    assert (balances["cash_in_transit:sandbox"], balances.get("refunds")) == (Decimal(-10), None)
    assert balances.get("accounts_receivable") is None


async def test_a_refused_refund_waits_for_a_person(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    refund = await _refund(books, invoice, NewRefund())
    row, paid, _ = await _settle(books, refund, RefundDeclined("charge_disputed"))
    assert (row.refund_status, row.failure_reason) == ("FAILED", "charge_disputed")
    assert f"refund {row.id} of 10 usd failed (charge_disputed)" in str(paid.needs_attention)

    async with books.database.transaction(books.scope) as session:
        again = await retry_refund(session, refund.id)
        assert (again.refund_status, again.attempt, again.failure_reason) == ("PENDING", 2, None)
        with pytest.raises(Conflict, match="the refund is PENDING, it must be FAILED"):
            await cancel_refund(session, refund.id, LATER)
    pending, _, _ = await _settle(books, refund, RefundPending("re_1"))
    assert pending.refund_status == "PROCESSING"
    await _settle(books, refund, RefundDeclined("expired"))
    async with books.database.transaction(books.scope) as session:
        await cancel_refund(session, refund.id, LATER)
        assert (await get_invoice(session, invoice)).needs_attention is None
    assert (await _refund(books, invoice, NewRefund())).amount == 10  # all of it is left again


async def test_a_refund_is_asked_for_once_under_one_key(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    first = await _refund(books, invoice, NewRefund(Decimal(4), idempotency_key="k"))
    assert (await _refund(books, invoice, NewRefund(Decimal(4), idempotency_key="k"))).id == first.id
    with pytest.raises(Conflict, match="idempotency_key was used for another refund"):
        await _refund(books, invoice, NewRefund(Decimal(5), idempotency_key="k"))


async def test_money_from_outside_is_booked_as_given_back(books: Books) -> None:
    await books.subscribe()
    (draft,) = await books.invoices("DRAFT")
    invoice = await books.finalize(draft.id, START)
    await books.pay(invoice.id, LATER)
    async with books.database.transaction(books.scope) as session:
        (paid,) = (await session.exec(select(PaymentRow).where(PaymentRow.destination_id == invoice.id))).all()
        row = await create_refund(session, books.scope, paid.id, NewRefund(Decimal("2.5")), LATER)
        assert (row.refund_status, row.refund_destination) == ("SUCCEEDED", "OUT_OF_BAND")
    assert (await books.balances())["cash_in_transit:offline"] == Decimal("-7.5")


async def test_money_that_comes_after_the_void_goes_back_by_itself(books: Books) -> None:
    invoice = await _charged(books, Declined("insufficient_funds", "soft", "pi_1"))
    await books.void(invoice, LATER)
    await _attempt(books, invoice, 1, CHARGED)

    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice)
        (refund,) = (await session.exec(select(RefundRow).where(RefundRow.invoice_id == invoice))).all()
    assert (row.invoice_status, row.payment_status, row.amount_paid) == ("VOIDED", "OVERPAID", Decimal(10))
    assert row.needs_attention == f"10 usd came after the invoice was voided: refund {refund.id} is under way"
    _, row, _ = await _settle(books, refund, Refunded("re_1"))
    assert (row.invoice_status, row.payment_status, row.needs_attention) == ("VOIDED", "REFUNDED", None)
    assert await books.balances() == {}


TOLD = Disputed("dp_1", "pi_1", Decimal(10), "usd", "fraudulent", "needs_response", START, START + timedelta(days=9))


async def _told(books: Books, invoice_id: str, told: Disputed) -> tuple[DisputeRow, InvoiceRow]:
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice_id, lock=True)
        (attempt,) = await list_attempts_of_invoice(session, invoice_id)
        return await record_dispute(session, row, attempt, told, LATER), row


async def test_a_dispute_asks_for_a_person_until_it_is_decided(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    dispute, row = await _told(books, invoice, TOLD)
    assert dispute.dispute_status == "needs_response"
    assert row.needs_attention == (
        f"10 usd of payment {dispute.payment_id} is disputed (fraudulent): answer dp_1 at sandbox before"
        " 2025-02-09 00:00 UTC"
    )
    later = replace(TOLD, state="under_review", reported_at=START + timedelta(days=2))
    assert (await _told(books, invoice, later))[0].dispute_status == "under_review"
    again, _ = await _told(books, invoice, replace(TOLD, reported_at=START + timedelta(days=1)))  # out of order
    assert (again.id, again.dispute_status) == (dispute.id, "under_review")
    won, row = await _told(books, invoice, replace(TOLD, state="won", reported_at=START + timedelta(days=3)))
    assert (won.dispute_status, won.closed_at, row.needs_attention) == ("won", LATER, None)
    assert (await books.balances())["cash_in_transit:sandbox"] == Decimal(-10)


async def test_a_lost_dispute_is_booked_once(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    lost = replace(TOLD, state="lost", reported_at=datetime(2025, 3, 1, tzinfo=UTC))
    for _ in range(2):
        await _told(books, invoice, lost)
    balances = await books.balances()
    assert (balances.get("cash_in_transit:sandbox"), balances["dispute_losses"]) == (None, Decimal(-10))


def _dashboard(amount: str, refund_id: str = "re_9", ours: str | None = None) -> RefundTold:
    return RefundTold(refund_id, "pi_1", Decimal(amount), "usd", Refunded(refund_id), ours)


async def _reported(books: Books, told: RefundTold, event_id: str) -> str | None:
    """The company reports; the invoice takes it in. Returns the invoice's id, if it is about one."""
    event = ProviderEvent("sandbox", event_id, "refund.updated", LATER, refund=told)
    async with books.database.transaction(books.scope) as session:
        about = await store_provider_event(session, books.scope, event, "{}", LATER)
    if about is not None:
        async with books.database.transaction(books.scope) as session:
            await take_in_facts(session, about, LATER)
    return about


async def _refunds(books: Books) -> list[tuple[str, Decimal, str | None]]:
    async with books.database.transaction(books.scope) as session:
        rows = (await session.exec(select(RefundRow).order_by(RefundRow.id))).all()
        return [(row.refund_status, row.amount, row.gateway_refund_id) for row in rows]


async def test_a_refund_made_at_the_provider_is_booked_once(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    pending = replace(_dashboard("4"), result=RefundPending("re_9"))
    assert await _reported(books, pending, "evt_1") == invoice
    assert await _refunds(books) == []
    for event in ("evt_2", "evt_3", "evt_3"):
        await _reported(books, _dashboard("4"), event)
    assert await _refunds(books) == [("SUCCEEDED", Decimal(4), "re_9")]
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice)
    assert (row.payment_status, row.refunded_amount, row.needs_attention) == ("PARTIALLY_REFUNDED", Decimal(4), None)
    balances = await books.balances()
    assert (balances["cash_in_transit:sandbox"], balances["refunds"]) == (Decimal(-6), Decimal(-4))
    with pytest.raises(Invalid, match="at most 6 usd"):
        await _refund(books, invoice, NewRefund(Decimal(7)))
    await books.void(invoice, LATER)
    assert await books.credit() == 6  # a void gives back what is left, no more


async def test_a_report_about_our_own_refund_settles_it(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    row = await _refund(books, invoice, NewRefund(Decimal(4)))
    for event in ("evt_1", "evt_2"):
        await _reported(books, _dashboard("4", "re_1", row.id), event)
    assert await _refunds(books) == [("SUCCEEDED", Decimal(4), "re_1")]
    assert (await books.balances())["refunds"] == -4


async def test_a_further_try_is_known_by_the_id_that_it_was_sent_under(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    row = await _refund(books, invoice, NewRefund())
    await _settle(books, row, RefundDeclined("no_money"))
    async with books.database.transaction(books.scope) as session:
        await retry_refund(session, row.id)
    await _reported(books, _dashboard("10", "re_2", f"{row.id}-2"), "evt_1")
    assert await _refunds(books) == [("SUCCEEDED", Decimal(10), "re_2")]


async def test_a_refund_that_comes_back_needs_a_person(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    row = await _refund(books, invoice, NewRefund())
    await _settle(books, row, Refunded("re_1"))
    back = replace(_dashboard("10", "re_1", row.id), result=RefundDeclined("lost_or_stolen_card", "re_1"))
    await _reported(books, back, "evt_1")
    async with books.database.transaction(books.scope) as session:
        told = (await get_invoice(session, invoice)).needs_attention
    assert told == (
        f"refund {row.id} of 10 usd came back (lost_or_stolen_card) after it had succeeded: give the money back in"
        " another way"
    )


async def test_money_that_goes_back_twice_needs_a_person(books: Books) -> None:
    """The void gave it to the wallet; then somebody refunds it at the provider as well."""
    invoice = await _charged(books, CHARGED)
    await books.void(invoice, LATER)
    await _reported(books, _dashboard("10"), "evt_1")
    async with books.database.transaction(books.scope) as session:
        row = await get_invoice(session, invoice)
    assert (row.invoice_status, row.payment_status) == ("VOIDED", "REFUNDED")
    assert str(row.needs_attention).startswith("refund re_9, made at the provider, gave back 10 usd that had gone back")
    assert (await books.balances()).get("cash_in_transit:sandbox") is None


async def test_a_refund_of_a_charge_that_is_not_ours_changes_nothing(books: Books) -> None:
    invoice = await _charged(books, CHARGED)
    foreign = replace(_dashboard("4"), provider_payment_id="pi_of_another_shop")
    assert await _reported(books, foreign, "evt_1") is None
    assert await _refunds(books) == []
    async with books.database.transaction(books.scope) as session:
        assert (await get_invoice(session, invoice)).payment_status == "SUCCEEDED"
