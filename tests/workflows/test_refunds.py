"""Money that goes back: by the company that took it, after a refusal by a person, and by itself after a void."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import httpx
import pytest
from sqlmodel import select
from temporalio.client import WorkflowHandle

from activities.ports import Charged, Disputed, ProviderEvent
from activities.provider_events import store_provider_event
from activities.refunds import NewRefund, create_refund, retry_refund
from models.queries.payments import find_provider_payment
from models.queries.refunds import get_refund
from models.tables import DisputeRow, InvoiceRow, PaymentAttemptRow, RefundRow
from tests.world import World, until, utc
from workflows.contracts import dispute_workflow_id, refund_workflow_id

START = utc("2025-01-01")
SECOND = timedelta(seconds=1)
State = Literal["needs_response", "under_review", "won", "lost"]


async def opened(world: World, card: str) -> InvoiceRow:
    """An opening invoice of 10 on a test clock, after its first attempt."""
    await world.sell()
    await world.clock(START)
    subscription = await world.subscribe(await world.customer("acme"), START, card=card)
    await world.until_started(subscription.id)
    await world.advance(START + SECOND)
    return (await world.invoices(subscription.id))[0]


async def refund(world: World, invoice: InvoiceRow, amount: str | None = None) -> RefundRow:
    """Asks for a refund of the invoice's payment."""
    async with world.database.transaction(world.scope) as session:
        payment = await find_provider_payment(session, invoice.id)
        assert payment is not None
        new = NewRefund(None if amount is None else Decimal(amount))
        return await create_refund(session, world.scope, payment.id, new, datetime.now(UTC))


async def until_status(world: World, row: RefundRow, status: str, attempt: int = 1) -> RefundRow:
    """The refund, once it has that status at that attempt."""

    async def now() -> RefundRow:
        async with world.database.transaction(world.scope) as session:
            return await get_refund(session, row.id)

    async def has_it() -> bool:
        found = await now()
        return (found.refund_status, found.attempt) == (status, attempt)

    await until(has_it)
    return await now()


def workflow_of(world: World, row: RefundRow) -> WorkflowHandle[object, object]:
    """The refund's workflow."""
    return world.temporal.get_workflow_handle(refund_workflow_id(world.scope, row.id))


async def given_back_elsewhere(world: World, invoice: InvoiceRow, amount: str) -> None:
    """Somebody refunds in the company's own dashboard: durabill's refund will find less than it asks for."""
    (charge,) = await world.charges(invoice.id)
    body = {"charge_id": charge["id"], "amount": amount}
    headers = {"idempotency-key": f"{charge['id']}-by-hand"}
    async with httpx.AsyncClient(base_url=world.provider.url) as client:
        (await client.post("/v1/refunds", json=body, headers=headers)).raise_for_status()


async def test_a_refund_reaches_the_company_and_the_invoice(world: World) -> None:
    invoice = await opened(world, "pm_card_succeeds")

    asked = await refund(world, invoice, "4")
    row = await until_status(world, asked, "SUCCEEDED")

    assert (row.amount, row.succeeded_at, row.gateway_refund_id is not None) == (Decimal(4), START + SECOND, True)
    paid = await world.invoice(invoice.id)
    assert (paid.payment_status, paid.refunded_amount) == ("PARTIALLY_REFUNDED", Decimal(4))
    assert [event.event_type for event in await world.events(asked.id)] == ["refund.created", "refund.succeeded"]
    await workflow_of(world, row).result()


async def test_a_refused_refund_needs_a_person_who_tries_again(world: World) -> None:
    invoice = await opened(world, "pm_card_succeeds")
    await given_back_elsewhere(world, invoice, "3")

    row = await refund(world, invoice)
    failed = await until_status(world, row, "FAILED")

    assert failed.failure_reason == "more_than_is_left"
    assert f"refund {row.id} of 10 usd failed" in str((await world.invoice(invoice.id)).needs_attention)

    async def needs_a_person() -> bool:
        described = await workflow_of(world, row).describe()
        return bool(described.search_attributes.get("NeedsAttention", [False])[0])

    await until(needs_a_person)
    async with world.database.transaction(world.scope) as session:
        await retry_refund(session, row.id)

    await until_status(world, row, "FAILED", attempt=2)  # as little is left as before
    assert len([event for event in await world.events(row.id) if event.event_type == "refund.failed"]) == 2


async def test_money_that_comes_after_a_void_goes_back_by_itself(world: World) -> None:
    invoice = await opened(world, "pm_card_declines_soft")
    await world.commands.void_invoice(world.scope, invoice.id)
    await world.closed(invoice.id)
    async with world.database.transaction(world.scope) as session:
        (attempt,) = (await session.exec(select(PaymentAttemptRow))).all()
    (charge,) = await world.charges(invoice.id)

    # The bank let the charge through after all, and nobody works on the invoice any more.
    late = ProviderEvent("sandbox", "evt_late", "charge.succeeded", START, attempt.id, outcome=Charged(charge["id"]))
    async with world.database.transaction(world.scope) as session:
        await store_provider_event(session, world.scope, late, "{}", datetime.now(UTC))

    async def is_asked_for() -> bool:
        return "refund_" in str((await world.invoice(invoice.id)).needs_attention)

    await until(is_asked_for)
    async with world.database.transaction(world.scope) as session:
        (asked,) = (await session.exec(select(RefundRow))).all()
    row = await until_status(world, asked, "FAILED")  # the company's own books know of no money: a person must look
    void = await world.invoice(invoice.id)
    assert (void.invoice_status, void.payment_status, void.amount_paid) == ("VOIDED", "OVERPAID", Decimal(10))
    assert (row.amount, row.refund_reason) == (Decimal(10), "OTHER")
    assert f"refund {row.id} of 10 usd failed" in str(void.needs_attention)


async def disputed(world: World, invoice: InvoiceRow, decided: State) -> WorkflowHandle[object, object]:
    """The customer takes the invoice's charge to the bank, which decides. Returns the dispute's workflow, ended."""
    charge = (await world.charges(invoice.id))[0]["id"]

    async def report(number: int, state: State) -> None:
        at = START + number * SECOND
        told = Disputed("dp_1", charge, Decimal(10), "usd", "fraudulent", state, at, START + timedelta(days=9))
        event = ProviderEvent("sandbox", f"evt_{number}", "dispute", at, dispute=told)
        async with world.database.transaction(world.scope) as session:
            assert await store_provider_event(session, world.scope, event, "{}", datetime.now(UTC)) == invoice.id

    await report(1, "needs_response")

    async def is_recorded() -> bool:
        return await the_dispute(world) is not None

    await until(is_recorded)
    row = await the_dispute(world)
    assert row is not None
    workflow = world.temporal.get_workflow_handle(dispute_workflow_id(world.scope, row.id))

    async def is_shown() -> bool:
        return await world.is_running(workflow)

    await until(is_shown)
    assert (await workflow.describe()).search_attributes["NeedsAttention"] == [True]
    assert "answer dp_1 at sandbox before 2025-01-10" in str((await world.invoice(invoice.id)).needs_attention)
    await report(2, decided)
    await workflow.result()
    return workflow


async def the_dispute(world: World) -> DisputeRow | None:
    """The tenant's only dispute, once there is one."""
    async with world.database.transaction(world.scope) as session:
        return (await session.exec(select(DisputeRow))).one_or_none()


@pytest.mark.parametrize("decided", ["won", "lost"])
async def test_a_dispute_is_shown_until_it_is_decided(world: World, decided: State) -> None:
    invoice = await opened(world, "pm_card_succeeds")

    await disputed(world, invoice, decided)

    row = await the_dispute(world)
    assert row is not None
    assert (await world.invoice(invoice.id)).needs_attention is None
    names = [event.event_type for event in await world.events(row.id)]
    assert names == ["dispute.created", f"dispute.{decided}"]
