"""Collecting: declines and their schedule, actions, lost answers, outages, payments by hand."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from sqlmodel import col, select
from temporalio.service import RPCError, RPCStatusCode

from activities.collection import collection_state
from activities.provider_events import store_provider_event
from activities.receipts import NewPayment
from activities.states import InvoiceState, SubscriptionState
from activities.wallets import NewWallet, create_wallet
from billing.errors import Conflict
from billing.wallets import WalletType
from models.tables import InvoiceRow, PaymentAttemptRow, SubscriptionRow, WalletLotRow
from tests.world import World, until, utc
from workflows.contracts import ChangePaymentMethod, InvoiceCommand
from workflows.messaging import send_command

START = utc("2025-01-01")
DAY = timedelta(days=1)


async def opened(world: World, card: str | None) -> tuple[SubscriptionRow, InvoiceRow]:
    """A subscription whose opening invoice has had its first attempt."""
    await world.sell()
    await world.clock(START)
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, START, card=card)
    await world.advance(START + timedelta(seconds=1))
    return subscription, (await world.invoices(subscription.id))[0]


async def attempts(world: World, invoice_id: str) -> list[PaymentAttemptRow]:
    """Every try to collect, first to last."""
    query = select(PaymentAttemptRow).where(PaymentAttemptRow.invoice_id == invoice_id)
    async with world.database.transaction(world.scope) as session:
        return list((await session.exec(query.order_by(col(PaymentAttemptRow.attempt_number)))).all())


async def test_soft_declines_follow_the_schedule_until_the_invoice_is_uncollectible(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_declines_soft")

    await world.advance(START + 20 * DAY)

    tried = [attempt.attempted_at - START for attempt in await attempts(world, invoice.id)]
    assert tried == [timedelta(), DAY, 3 * DAY, 5 * DAY, 7 * DAY, 14 * DAY]
    given_up = await world.invoice(invoice.id)
    assert (given_up.payment_status, given_up.uncollectible, given_up.next_action_at) == ("FAILED", True, None)
    assert (await world.subscription(subscription.id)).subscription_status == "past_due"
    assert len(await world.charges(invoice.id)) == 6
    assert await world.is_running(world.invoice_workflow(invoice.id))  # a late payment is still taken in


async def test_retries_come_at_the_tenants_hour_on_both_sides_of_a_change_of_the_clocks(world: World) -> None:
    await world.configure(dunning_days=[1, 3, 5], dunning_hour=9, timezone="Europe/Berlin")
    await world.sell()
    await world.clock(utc("2025-03-28"))
    subscription = await world.subscribe(await world.customer("acme"), utc("2025-03-28"), card="pm_card_declines_soft")

    await world.advance(utc("2025-04-10"))

    (invoice,) = await world.invoices(subscription.id)
    tried = [attempt.attempted_at for attempt in await attempts(world, invoice.id)]
    # At nine in Berlin: on the 29th of March still an hour ahead of UTC, from the 30th on two.
    at_nine = (utc("2025-03-29T08:00"), utc("2025-03-31T07:00"), utc("2025-04-02T07:00"))
    assert tried == [utc("2025-03-28"), *at_nine]
    assert (await world.invoice(invoice.id)).uncollectible


async def test_a_retry_recovers_the_payment(world: World) -> None:
    subscription, invoice = await opened(world, "pm_script_soft_soft_ok")

    await world.advance(START + 4 * DAY)

    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.paid_at) == ("SUCCEEDED", START + 3 * DAY)
    assert (await world.subscription(subscription.id)).subscription_status == "active"


async def test_a_hard_decline_is_not_tried_again_with_the_same_card_but_with_another(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_declines_hard")
    await world.advance(START + 15 * DAY)
    assert len(await world.charges(invoice.id)) == 1
    assert (await world.invoice(invoice.id)).uncollectible
    assert (await world.subscription(subscription.id)).subscription_status == "past_due"

    other = ChangePaymentMethod("other card", datetime.now(UTC), "sandbox", "pm_card_succeeds")
    workflow_id = world.subscription_workflow(subscription.id).id
    await send_command(world.temporal, workflow_id, "change_payment_method", other, SubscriptionState)
    await world.commands.attempt_payment(world.scope, invoice.id)

    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.uncollectible) == ("SUCCEEDED", False)
    assert (await world.subscription(subscription.id)).subscription_status == "active"


@pytest.mark.parametrize(("decision", "status"), [("approve", "SUCCEEDED"), ("refuse", "FAILED")])
async def test_a_needed_action_is_settled_by_the_companys_signed_report(
    world: World, decision: str, status: str
) -> None:
    _, invoice = await opened(world, "pm_card_needs_action")
    (charge,) = await world.charges(invoice.id)
    assert (await world.invoice(invoice.id)).needs_attention == (
        f"the customer confirms the payment at {charge['action_url']}"
    )
    # An attempt by hand only looks again: a second charge beside the open one could take the money twice.
    waiting = await world.commands.attempt_payment(world.scope, invoice.id)
    assert waiting.payment_status == "PENDING"

    async with httpx.AsyncClient() as browser:
        await browser.post(charge["action_url"], content=f"decision={decision}")
    now = datetime.now(UTC)
    (attempt,) = await attempts(world, invoice.id)
    report = await world.receiver.next()
    while attempt.id not in report.body.decode():  # the company's reports of other tests come to the same address
        report = await world.receiver.next()
    event = world.clients.providers["sandbox"].parse_webhook(report.headers, report.body, now)
    for _ in range(2):  # the company may tell us twice
        async with world.database.transaction(world.scope) as session:
            told = await store_provider_event(session, world.scope, event, report.body.decode(), now)
        assert told == invoice.id

    async def settled() -> bool:
        return (await world.invoice(invoice.id)).payment_status == status

    await until(settled)
    assert len(await world.charges(invoice.id)) == 1
    assert len(await attempts(world, invoice.id)) == 1


async def test_an_answer_lost_after_charging_is_one_charge(world: World) -> None:
    _, invoice = await opened(world, "pm_card_answer_lost")

    paid = await world.closed(invoice.id)

    assert paid.payment_status == "SUCCEEDED"
    assert [charge["status"] for charge in await world.charges(invoice.id)] == ["succeeded"]
    assert len(await attempts(world, invoice.id)) == 1


async def test_a_company_that_is_down_is_asked_again(world: World) -> None:
    _, invoice = await opened(world, "pm_script_down_ok")

    paid = await world.closed(invoice.id)

    assert paid.payment_status == "SUCCEEDED"
    assert len(await attempts(world, invoice.id)) == 1


async def test_a_company_that_is_gone_is_waited_for(world: World) -> None:
    world.provider.kill()
    try:
        await world.sell()
        customer = await world.customer("acme")
        subscription = await world.subscribe(customer, datetime.now(UTC))
        (invoice,) = await world.invoices(subscription.id)

        async def is_trying() -> bool:
            try:
                described = await world.invoice_workflow(invoice.id).describe()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return False  # the relay has not started it yet
            pending = described.raw_description.pending_activities
            return any(each.attempt > 1 and "cannot " in each.last_failure.message for each in pending)

        await world.until_started(subscription.id)
        await until(is_trying)
    finally:
        world.provider.start()
        await world.provider.ready()

    assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
    assert len(await world.charges(invoice.id)) == 1


async def test_an_attempt_by_hand_does_not_wait_for_the_schedule(world: World) -> None:
    _, invoice = await opened(world, "pm_script_soft_ok")
    assert (await world.invoice(invoice.id)).next_action_at == START + DAY

    paid = await world.commands.attempt_payment(world.scope, invoice.id, "by hand")

    assert paid.payment_status == "SUCCEEDED"
    assert len(await world.charges(invoice.id)) == 2
    with pytest.raises(Conflict, match="the invoice is paid"):
        await world.commands.attempt_payment(world.scope, invoice.id, "by hand again")


async def test_an_attempt_by_hand_that_is_sent_again_to_a_later_run_is_made_once(world: World) -> None:
    await world.sell()
    subscription = await world.subscribe(await world.customer("acme"), datetime.now(UTC), card="pm_script_soft_soft_ok")
    (invoice,) = await world.invoices(subscription.id)

    async def declined() -> bool:
        return (await world.invoice(invoice.id)).payment_status == "FAILED"

    await until(declined)
    await world.commands.attempt_payment(world.scope, invoice.id, "by hand")
    await world.invoice_workflow(invoice.id).terminate("a later run knows of it what Postgres knows")
    async with world.database.transaction(world.scope) as session:
        state = await collection_state(session, await world.invoice(invoice.id))
    await world.gate.wake_invoice(replace(state, seen_commands=()), restart=True)

    again = await world.commands.attempt_payment(world.scope, invoice.id, "by hand")
    at_the_workflow = InvoiceCommand("by hand", datetime.now(UTC))
    workflow_id = world.invoice_workflow(invoice.id).id
    await send_command(world.temporal, workflow_id, "attempt_payment", at_the_workflow, InvoiceState)

    assert again.payment_status == "FAILED"
    assert [charge["status"] for charge in await world.charges(invoice.id)] == ["declined", "declined"]
    paid = await world.commands.attempt_payment(world.scope, invoice.id, "by hand, another time")
    assert paid.payment_status == "SUCCEEDED"


async def test_attempts_by_hand_sent_together_charge_once(world: World) -> None:
    _, invoice = await opened(world, "pm_script_soft_ok")

    answers = await asyncio.gather(
        *(world.commands.attempt_payment(world.scope, invoice.id, f"hand-{n}") for n in range(4)),
        return_exceptions=True,
    )

    assert any(isinstance(answer, InvoiceRow) and answer.payment_status == "SUCCEEDED" for answer in answers)
    charged = [charge for charge in await world.charges(invoice.id) if charge["status"] == "succeeded"]
    assert len(charged) == 1


async def test_a_payment_outside_the_company_ends_the_workflow(world: World) -> None:
    _, invoice = await opened(world, card=None)
    assert await world.is_running(world.invoice_workflow(invoice.id))

    await world.commands.record_payment(world.scope, invoice.id, NewPayment(Decimal(4)))
    assert (await world.invoice(invoice.id)).payment_status == "PENDING"
    await world.commands.record_payment(world.scope, invoice.id, NewPayment(Decimal(6)))

    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.amount_paid) == ("SUCCEEDED", Decimal(10))


async def test_a_wallet_that_came_later_pays_by_hand(world: World) -> None:
    """Without a provider nothing is tried by itself; an attempt by hand takes what the POST_PAID wallet has."""
    _, invoice = await opened(world, card=None)
    with pytest.raises(Conflict, match="has a payment method or a POST_PAID wallet"):
        await world.commands.attempt_payment(world.scope, invoice.id, "too early")
    new = NewWallet(invoice.customer_id, "usd", wallet_type=WalletType.POST_PAID, initial_credits=Decimal(25))
    async with world.database.transaction(world.scope) as session:
        wallet = (await create_wallet(session, world.scope, new, START)).id

    async def paid() -> bool:
        try:
            row = await world.commands.attempt_payment(world.scope, invoice.id)
        except Conflict:
            return False  # the invoice has not heard of the wallet yet
        return row.payment_status == "SUCCEEDED"

    await until(paid)

    assert (await world.closed(invoice.id)).amount_paid == 10
    async with world.database.transaction(world.scope) as session:
        lots = (await session.exec(select(WalletLotRow).where(WalletLotRow.wallet_id == wallet))).all()
    assert [lot.remaining for lot in lots] == [Decimal(15)]
    assert await world.charges(invoice.id) == []


async def test_a_method_that_is_withdrawn_between_attempts_ends_the_retries(world: World) -> None:
    subscription, invoice = await opened(world, "pm_card_declines_soft")
    async with world.database.transaction(world.scope) as session:
        row = await session.get_one(SubscriptionRow, subscription.id)
        row.gateway_payment_method_id = row.payment_gateway = None

    await world.advance(START + 2 * DAY)

    assert len(await world.charges(invoice.id)) == 1
    assert (await world.invoice(invoice.id)).next_action_at is None
