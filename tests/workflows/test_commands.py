"""Commands on a running subscription: each takes effect once, whatever it meets on its way."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError

from activities.receipts import NewPayment
from activities.states import SubscriptionState
from billing.errors import Conflict, Invalid
from billing.periods import BillingPeriod
from models.tables import InvoiceRow
from tests.world import World, until, utc
from workflows.contracts import COMMAND_LIFETIME, EXPIRED, ChangePaymentMethod
from workflows.messaging import Unavailable, send_command

DAY = timedelta(days=1)
SENDERS = 4
AT_ONCE = 36  # more than the ten updates that a run takes at a time
CARD = "pm_card_succeeds"
ids = (f"flood-{number}" for number in itertools.count())


def command(command_id: str, *, lives: timedelta = COMMAND_LIFETIME) -> ChangePaymentMethod:
    """One that changes nothing else; each that takes effect is told to the webhooks once."""
    return ChangePaymentMethod(command_id, datetime.now(UTC) + lives, "sandbox", CARD)


async def change(world: World, subscription_id: str, command_id: str) -> SubscriptionState:
    """Sends it as the product does."""
    workflow_id = world.subscription_workflow(subscription_id).id
    return await send_command(
        world.temporal, workflow_id, "change_payment_method", command(command_id), SubscriptionState
    )


async def insist(world: World, subscription_id: str, command_id: str) -> SubscriptionState:
    """Sends it, as callers do who were answered 503, until it is answered."""
    while True:
        try:
            return await change(world, subscription_id, command_id)
        except Unavailable:
            continue


async def flood(world: World, subscription_id: str, stop: asyncio.Event) -> int:
    """One sender, who sends a command after another until `stop`; returns how many were answered."""
    sent = 0
    while not stop.is_set():
        await insist(world, subscription_id, next(ids))
        sent += 1
    return sent


async def told(world: World, subscription_id: str) -> int:
    """How often the webhooks were told of a change, without the closes that made an invoice."""
    updates = [e for e in await world.events(subscription_id) if e.event_type == "subscription.updated"]
    return len(updates) - (len(await world.invoices(subscription_id)) - 1)


def in_order(invoices: Sequence[InvoiceRow]) -> bool:
    """Whether every period begins where the one before it ended and was drafted after it."""
    drafted = sorted(invoices, key=lambda invoice: (invoice.created_at, invoice.period_end))
    return all(before.period_end == after.period_start for before, after in itertools.pairwise(drafted[1:]))


async def test_a_flood_across_ten_period_ends_is_applied_once_each_and_every_close_is_in_order(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    await world.until_started(subscription.id)
    stop = asyncio.Event()
    senders = [asyncio.create_task(flood(world, subscription.id, stop)) for _ in range(SENDERS)]

    for day in range(1, 11):
        await world.advance(utc("2025-01-01") + day * DAY)
    stop.set()
    answered = sum(await asyncio.gather(*senders))

    invoices = await world.invoices(subscription.id)
    assert len(invoices) == 11
    assert in_order(invoices)
    assert answered > 50
    assert await told(world, subscription.id) == answered


async def test_ten_period_ends_in_real_time_are_on_time_under_a_flood(world: World) -> None:
    await world.configure(finalization_delay_seconds=3600)
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    first_end = datetime.now(UTC) + timedelta(seconds=4)
    now = datetime.now(UTC)
    subscriptions = [
        await world.subscribe(customer, first_end - DAY + timedelta(milliseconds=300 * number), now=now)
        for number in range(10)
    ]
    for subscription in subscriptions:
        await world.until_started(subscription.id)
    stop = asyncio.Event()
    senders = [asyncio.create_task(flood(world, subscription.id, stop)) for subscription in subscriptions]

    async def all_closed() -> bool:
        counts = Counter(invoice.subscription_id for invoice in await world.invoices())
        return all(counts[subscription.id] == 2 for subscription in subscriptions)

    await until(all_closed)
    stop.set()
    answered = await asyncio.gather(*senders)

    for subscription, count in zip(subscriptions, answered, strict=True):
        assert await told(world, subscription.id) == count
        close = (await world.invoices(subscription.id))[-1]
        assert close.created_at - close.period_end < timedelta(seconds=5)


async def test_commands_that_meet_a_close_and_continue_as_new_are_not_lost(world: World) -> None:
    """In real time: boundaries of thirty days are caught up in runs of twelve while commands arrive."""
    await world.configure(finalization_delay_seconds=3600 * 24 * 31)
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    now = datetime.now(UTC)
    subscription = await world.subscribe(customer, now - 30 * DAY, now=now)
    await world.until_started(subscription.id)

    answers = await asyncio.gather(*(insist(world, subscription.id, next(ids)) for _ in range(AT_ONCE)))

    # None before the boundaries that had passed.
    assert {answer.period_end for answer in answers} == {subscription.start_date + 31 * DAY}
    invoices = await world.invoices(subscription.id)
    assert len(invoices) == 31
    assert in_order(invoices)
    assert await told(world, subscription.id) == AT_ONCE


async def test_without_a_worker_the_caller_is_told_in_time_and_a_late_worker_does_not_act(world: World) -> None:
    await world.sell()
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, datetime.now(UTC) - DAY)
    await world.until_started(subscription.id)
    await world.stop_workers()
    began = datetime.now(UTC)
    stale = command("stale", lives=timedelta(seconds=1))
    try:
        handle = world.subscription_workflow(subscription.id)
        update = asyncio.create_task(handle.execute_update("change_payment_method", stale, id="stale/1"))

        with pytest.raises(Unavailable, match="no worker answered within 12 s"):
            await world.commands.cancel_subscription(world.scope, subscription.id, "immediate", command_id="again")

        assert datetime.now(UTC) - began < timedelta(seconds=15)
    finally:
        await world.start_workers()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await update
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == EXPIRED
    assert (await world.subscription(subscription.id)).subscription_status == "active"

    ended = await world.commands.cancel_subscription(world.scope, subscription.id, "immediate", command_id="again")

    assert ended.subscription_status == "cancelled"
    assert len(await world.invoices(subscription.id)) == 2


async def test_a_command_sent_again_under_its_id_takes_effect_once(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    await world.until_started(subscription.id)

    await asyncio.gather(*(change(world, subscription.id, "the same") for _ in range(5)))
    await world.advance(utc("2025-01-02"))  # another run, which knows only what was handed over
    await change(world, subscription.id, "the same")

    assert await told(world, subscription.id) == 1


async def test_a_command_that_waited_too_long_inside_the_workflow_is_refused_as_well(world: World) -> None:
    """Accepted in time, but the step before it took longer than its sender waits."""
    await world.sell(BillingPeriod.DAILY)
    await world.clock(utc("2025-01-01"))
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, utc("2025-01-01"))
    await world.until_started(subscription.id)
    handle = world.subscription_workflow(subscription.id)

    async with world.locked(subscription):
        first = await handle.start_update(
            "change_payment_method", command("first"), id="first/1", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        second = await handle.start_update(
            "change_payment_method",
            command("second", lives=timedelta(seconds=1)),
            id="second/1",
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
        )
        await asyncio.sleep(1.2)  # the second one's time runs out

    await first.result()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await second.result()
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == EXPIRED
    assert await told(world, subscription.id) == 1


async def test_commands_say_what_is_wrong(world: World) -> None:
    await world.sell()
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, datetime.now(UTC) - DAY)
    await world.until_started(subscription.id)

    with pytest.raises(Invalid, match="cancellation_type must be one of immediate, end_of_period; got 'tomorrow'"):
        await world.commands.cancel_subscription(world.scope, subscription.id, "tomorrow")
    bad = replace(command("empty"), payment_method="")
    workflow_id = world.subscription_workflow(subscription.id).id
    with pytest.raises(Invalid, match="must both be given") as empty:
        await send_command(world.temporal, workflow_id, "change_payment_method", bad, SubscriptionState)
    assert empty.value.field == "gateway_payment_method_id"

    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    with pytest.raises(Conflict) as ended:
        await world.commands.cancel_subscription(world.scope, subscription.id, "end_of_period")
    assert ended.value.state == "cancelled"


async def test_a_command_whose_answer_was_lost_is_answered_again(world: World) -> None:
    """The server died after the effect and before it could note its answer: the caller repeats it, and nothing more
    happens; another caller's command is refused as ever."""
    await world.sell()
    await world.clock(utc("2025-01-01"))
    for name in ("acme", "other"):
        made = await world.subscribe(await world.customer(name), utc("2025-01-01"), card="pm_card_declines_soft")
        await world.until_started(made.id)
    await world.advance(utc("2025-01-01T00:01"))
    invoice, other = await world.invoices()
    commands, scope = world.commands, world.scope

    new = NewPayment(Decimal(1), idempotency_key="pay")
    paid = [await commands.record_payment(scope, invoice.id, new) for _ in range(2)]
    assert paid[0].id == paid[1].id
    assert (await world.invoice(invoice.id)).amount_paid == 1
    voided = [await commands.void_invoice(scope, other.id, command_id="void") for _ in range(2)]
    assert [row.invoice_status for row in voided] == ["VOIDED"] * 2
    await world.advance(utc("2025-02-01T00:01"))
    draft = next(each for each in await world.invoices() if each.invoice_status == "DRAFT")
    finalized = [await commands.finalize_invoice(scope, draft.id, command_id="finalize") for _ in range(2)]
    assert [row.invoice_status for row in finalized] == ["FINALIZED"] * 2
    ended = [await commands.cancel_subscription(scope, made.id, "immediate", command_id="cancel") for _ in range(2)]
    assert [row.subscription_status for row in ended] == ["cancelled"] * 2
    with pytest.raises(Conflict):
        await commands.cancel_subscription(scope, made.id, "immediate", command_id="another")
    with pytest.raises(Conflict):
        await commands.void_invoice(scope, other.id, command_id="another")
