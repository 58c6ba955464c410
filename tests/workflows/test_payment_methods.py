"""A new payment method: open invoices are charged by it at once; what was written off only by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from activities.customers import CustomerChange, update_customer
from activities.receipts import NewPayment
from activities.states import SubscriptionState
from models.tables import InvoiceRow, SubscriptionRow
from tests.world import World, until, utc
from workflows.contracts import ChangePaymentMethod
from workflows.messaging import send_command

START = utc("2025-01-01")
DAY = timedelta(days=1)


async def opened(world: World, card: str | None) -> tuple[SubscriptionRow, InvoiceRow]:
    """A subscription on a test clock whose opening invoice of 10 has had its first attempt, if there is a card."""
    await world.sell()
    await world.clock(START)
    subscription = await world.subscribe(await world.customer("acme"), START, card=card)
    await world.until_started(subscription.id)
    await world.advance(START + timedelta(seconds=1))
    return subscription, (await world.invoices(subscription.id))[0]


async def change_method(world: World, subscription: SubscriptionRow, card: str) -> None:
    """The subscription is paid by another card from now on."""
    command = ChangePaymentMethod(f"to {card}", datetime.now(UTC), "sandbox", card)
    workflow_id = world.subscription_workflow(subscription.id).id
    await send_command(world.temporal, workflow_id, "change_payment_method", command, SubscriptionState)


async def give_card(world: World, customer_id: str, card: str) -> None:
    """The customer leaves a card with us."""
    change = CustomerChange(gateway_payment_method_id=card, payment_gateway="sandbox")
    async with world.database.transaction(world.scope) as session:
        await update_customer(session, world.scope, customer_id, change, datetime.now(UTC))


@pytest.mark.parametrize("declining", ["pm_card_declines_soft", "pm_card_declines_hard"])
async def test_a_declined_invoice_is_charged_by_the_new_card_at_once(world: World, declining: str) -> None:
    subscription, invoice = await opened(world, declining)
    await world.advance(START + timedelta(hours=5))  # the clock has gone on since the invoice last acted

    await change_method(world, subscription, "pm_card_succeeds")

    paid = await world.closed(invoice.id)  # nobody moves the clock
    assert (paid.payment_status, paid.paid_at) == ("SUCCEEDED", START + timedelta(hours=5))
    charges = await world.charges(invoice.id)
    assert [(each["payment_method"], each["status"]) for each in charges] == [
        (declining, "declined"),
        ("pm_card_succeeds", "succeeded"),
    ]


async def test_the_customers_first_card_pays_what_was_open(world: World) -> None:
    subscription, invoice = await opened(world, None)
    assert await world.charges(invoice.id) == []

    await give_card(world, subscription.customer_id, "pm_card_succeeds")

    assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
    assert len(await world.charges(invoice.id)) == 1


async def test_a_new_card_that_is_declined_goes_on_with_the_schedule(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_declines_soft")

    await change_method(world, subscription, "pm_script_soft_ok")

    async def tried() -> bool:
        return len(await world.charges(invoice.id)) == 2

    await until(tried)
    await world.advance(START + 4 * DAY)  # two failures: the next day of the schedule is the third
    paid = await world.closed(invoice.id)
    assert paid.paid_at == START + 3 * DAY
    assert len(await world.charges(invoice.id)) == 3


async def test_what_was_written_off_waits_for_an_attempt_by_hand(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_declines_hard")
    await world.advance(START + 15 * DAY)
    assert (await world.invoice(invoice.id)).uncollectible

    await change_method(world, subscription, "pm_card_succeeds")
    await world.advance(START + 16 * DAY)
    assert len(await world.charges(invoice.id)) == 1

    await world.commands.attempt_payment(world.scope, invoice.id)
    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.uncollectible) == ("SUCCEEDED", False)


async def test_an_attempt_by_hand_tries_even_a_card_that_was_declined_for_good(world: World) -> None:
    _, invoice = await opened(world, "pm_script_hard_ok")

    paid = await world.commands.attempt_payment(world.scope, invoice.id)

    assert paid.payment_status == "SUCCEEDED"
    assert len(await world.charges(invoice.id)) == 2


async def test_a_new_card_takes_the_place_of_a_payment_that_waits_for_the_customer(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_needs_action")

    await change_method(world, subscription, "pm_card_succeeds")

    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.needs_attention) == ("SUCCEEDED", None)
    first, second = await world.charges(invoice.id)
    assert (first["status"], first["decline_reason"], second["status"]) == ("declined", "canceled", "succeeded")


@pytest.mark.parametrize("ending", ["voided", "paid otherwise"])
async def test_nobody_can_pay_what_is_not_owed_any_more(world: World, ending: str) -> None:
    _, invoice = await opened(world, "pm_card_needs_action")
    if ending == "voided":
        await world.commands.void_invoice(world.scope, invoice.id)
    else:
        await world.commands.record_payment(world.scope, invoice.id, NewPayment(Decimal(10)))

    row = await world.closed(invoice.id)

    assert row.payment_status == ("VOIDED" if ending == "voided" else "SUCCEEDED")
    (charge,) = await world.charges(invoice.id)
    assert (charge["status"], charge["decline_reason"]) == ("declined", "canceled")


async def test_a_debit_that_a_bank_works_on_for_days_is_waited_for(world: World) -> None:
    _, invoice = await opened(world, "pm_upi_pending")
    waiting = await world.invoice(invoice.id)
    assert (waiting.payment_status, waiting.next_action_at) == ("PROCESSING", START + DAY)

    await world.advance(START + 8 * DAY)  # looked up every day
    waiting = await world.invoice(invoice.id)
    assert (waiting.payment_status, waiting.next_action_at) == ("PROCESSING", START + 9 * DAY)
    assert "the bank has been at work on the payment since 2025-01-01" in str(waiting.needs_attention)

    (charge,) = await world.charges(invoice.id)
    async with httpx.AsyncClient(base_url=world.provider.url) as bank:
        await bank.post(f"/actions/{charge['id']}", content="decision=approve")
    await world.advance(START + 9 * DAY)  # its report did not reach us: looking finds it

    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.needs_attention) == ("SUCCEEDED", None)
    assert len(await world.charges(invoice.id)) == 1
