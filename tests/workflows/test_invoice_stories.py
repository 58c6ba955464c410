"""An invoice from its draft to its end: grace, finalizing by command, voiding."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlmodel import select

from billing.errors import Conflict
from models.tables import InvoiceRow, WalletLotRow
from tests.world import World, until, utc


async def month_closed(world: World, card: str | None = "pm_card_succeeds") -> InvoiceRow:
    """The draft of a first month with usage, an hour into its grace of two."""
    await world.sell()
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"), card=card)
    await world.use(customer, utc("2025-01-10"), "100")
    await world.advance(utc("2025-02-01T01:00"))
    return (await world.invoices(subscription.id))[-1]


async def credits_left(world: World) -> list[Decimal]:
    """What is left of each lot of the tenant's wallets."""
    async with world.database.transaction(world.scope) as session:
        return [lot.remaining for lot in (await session.exec(select(WalletLotRow))).all()]


async def test_a_draft_waits_out_its_grace_and_counts_what_came_late(world: World) -> None:
    draft = await month_closed(world)
    assert (draft.invoice_status, draft.invoice_number) == ("DRAFT", None)
    assert draft.next_action_at == utc("2025-02-01T02:00")
    await world.use(await world.customer_named("acme"), utc("2025-01-31T23:59"), "50")

    await world.advance(utc("2025-02-01T02:00"))

    paid = await world.closed(draft.id)
    assert (paid.invoice_status, paid.payment_status, paid.total) == ("FINALIZED", "SUCCEEDED", Decimal(13))
    assert paid.finalized_at == paid.paid_at == utc("2025-02-01T02:00")


async def test_a_draft_is_finalized_by_command_before_its_grace_is_over(world: World) -> None:
    draft = await month_closed(world)

    finalized = await world.commands.finalize_invoice(world.scope, draft.id, "now")

    assert finalized.invoice_status == "FINALIZED"
    assert finalized.finalized_at == utc("2025-02-01T01:00")
    paid = await world.closed(draft.id)
    assert paid.payment_status == "SUCCEEDED"
    assert len(await world.charges(draft.id)) == 1
    with pytest.raises(Conflict) as again:
        await world.commands.finalize_invoice(world.scope, draft.id)
    assert again.value.state == "FINALIZED"


async def test_a_draft_is_voided_and_nobody_is_charged(world: World) -> None:
    draft = await month_closed(world)

    await world.commands.void_invoice(world.scope, draft.id, "a mistake")
    await world.advance(utc("2025-02-02"))

    voided = await world.closed(draft.id)
    assert (voided.invoice_status, voided.payment_status, voided.invoice_number) == ("VOIDED", "VOIDED", None)
    assert voided.invoice_metadata["void_reason"] == "a mistake"
    assert await world.charges(draft.id) == []


async def test_an_unpaid_invoice_is_voided(world: World) -> None:
    draft = await month_closed(world, card=None)
    await world.advance(utc("2025-02-01T02:00"))
    assert await world.is_running(world.invoice_workflow(draft.id))  # it waits for a payment, however long that takes

    await world.commands.void_invoice(world.scope, draft.id)

    voided = await world.closed(draft.id)
    assert voided.invoice_status == "VOIDED"
    assert voided.invoice_number is not None


async def test_a_paid_invoice_is_voided_into_the_wallet_once(world: World) -> None:
    draft = await month_closed(world)
    await world.advance(utc("2025-02-01T02:00"))
    paid = await world.closed(draft.id)
    assert paid.amount_paid == 12

    for _ in range(2):
        await world.commands.void_invoice(world.scope, draft.id, "a mistake", command_id="mine")
    with pytest.raises(Conflict, match="invoice_status is VOIDED; possible now: nothing"):
        await world.commands.void_invoice(world.scope, draft.id)

    voided = await world.invoice(draft.id)
    assert (voided.invoice_status, voided.payment_status, voided.refunded_amount) == ("VOIDED", "REFUNDED", Decimal(12))
    assert voided.invoice_metadata["void_reason"] == "a mistake"
    assert await credits_left(world) == [Decimal(12)]
    assert len(await world.charges(draft.id)) == 1  # nothing went back at the provider


async def test_a_void_that_comes_while_the_invoice_is_paid_waits_and_gives_back(world: World) -> None:
    """Whichever comes first, the charge or the void: the customer has paid nothing, or has it in the wallet."""
    draft = await month_closed(world)

    advancing = asyncio.create_task(world.advance(utc("2025-02-01T02:00")))

    async def is_final() -> bool:
        return (await world.invoice(draft.id)).invoice_status != "DRAFT"

    await until(is_final)
    try:
        await world.commands.void_invoice(world.scope, draft.id)
    except Conflict as conflict:
        assert conflict.state == "PROCESSING"  # noqa: PT017 (either answer is right)
        await advancing
        await world.commands.void_invoice(world.scope, draft.id)
    await advancing

    voided = await world.closed(draft.id)
    assert voided.amount_paid == (12 if await world.charges(draft.id) else 0)
    assert (voided.invoice_status, sum(await credits_left(world))) == ("VOIDED", voided.amount_paid)


async def test_the_same_command_twice_finalizes_once(world: World) -> None:
    draft = await month_closed(world)

    await world.commands.finalize_invoice(world.scope, draft.id, "mine")
    paid = await world.closed(draft.id)

    finalized = [event for event in await world.events(draft.id) if event.event_type == "invoice.update.finalized"]
    assert len(finalized) == 1
    assert paid.finalized_at is not None
    assert paid.finalized_at < utc("2025-02-01T02:00") + timedelta(seconds=1)
