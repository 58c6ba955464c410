"""Usage that is known only after its invoice was final: corrected once, by the next close, on the real stack.

A plan is a seat at 10 in advance, and calls at 0.02 up to 1000 a month, at 0.01 beyond.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlmodel import col, select

from activities.catalog import MeterFilter, update_meter_filters
from activities.invoice_explanations import explain_invoice
from activities.invoices import verify_invoice
from billing.errors import Conflict
from models.queries.invoices import list_lines
from models.tables import (
    CustomerRow,
    InvoiceLineRow,
    InvoiceRow,
    MeterRow,
    SubscriptionRow,
    UsageCorrectionRow,
    UsageSnapshotRow,
)
from tests.event_changes import amend, void_event
from tests.world import World, utc

JANUARY, FEBRUARY, MARCH, APRIL = (utc(f"2025-0{month}-01") for month in (1, 2, 3, 4))


async def subscribed(world: World, zone: str = "UTC", start: datetime = JANUARY) -> tuple[CustomerRow, SubscriptionRow]:
    """A customer with a subscription, on a test clock that stands at its start."""
    await world.sell()
    await world.clock(start)
    customer = await world.customer("acme", zone)
    return customer, await world.subscribe(customer, start)


async def adjustments(world: World, invoice: InvoiceRow) -> list[tuple[datetime, datetime, Decimal, Decimal]]:
    """Period, quantity and amount of each correction on an invoice."""
    async with world.database.transaction(world.scope) as session:
        lines = await list_lines(session, invoice.id)
    return [(line.period_start, line.period_end, line.quantity, line.amount) for line in lines if corrects(line)]


def corrects(line: InvoiceLineRow) -> bool:
    return line.kind == "adjustment" and line.price_id is not None


async def last(world: World, subscription: SubscriptionRow) -> InvoiceRow:
    """The newest invoice, which follows from what is stored."""
    invoice = (await world.invoices(subscription.id))[-1]
    async with world.database.transaction(world.scope) as session:
        assert await verify_invoice(session, invoice.id) == ()
    return invoice


async def chain(world: World) -> Sequence[UsageCorrectionRow]:
    """Every correction, oldest first."""
    query = select(UsageCorrectionRow).order_by(col(UsageCorrectionRow.invoice_id), col(UsageCorrectionRow.sequence))
    async with world.database.transaction(world.scope) as session:
        return (await session.exec(query)).all()


async def test_late_up_and_late_down_are_on_the_next_invoice(world: World) -> None:
    customer, subscription = await subscribed(world)
    event = await world.use(customer, utc("2025-01-10"), "900")
    await world.advance(utc("2025-02-02"))
    await world.use(customer, utc("2025-01-20"), "200", received=utc("2025-02-02"))
    await world.advance(utc("2025-03-02"))

    # January: 1000 x 0.02 + 100 x 0.01 = 21, of which 18 were billed. February: a seat for March.
    february = await last(world, subscription)
    assert await adjustments(world, february) == [(JANUARY, FEBRUARY, Decimal(200), Decimal(3))]
    assert february.total == Decimal(13)

    await void_event(world, customer, event)
    await world.advance(utc("2025-04-02"))

    # January: 200 x 0.02 = 4 of 21: 17 are given back. 10 of it pays the seat for April, 7 go to the wallet.
    march = await last(world, subscription)
    assert await adjustments(world, march) == [(JANUARY, FEBRUARY, Decimal(-900), Decimal(-17))]
    assert (march.total, march.carried_credit) == (Decimal(0), Decimal(7))
    first, second = await chain(world)
    assert [(row.carrier_invoice_id, row.sequence) for row in (first, second)] == [(february.id, 1), (march.id, 2)]
    async with world.database.transaction(world.scope) as session:
        explained = (await explain_invoice(session, march.id))["text"]
    for words in ("billed this period before all of its usage was known", "corrected since: 3.00 usd", "-17.00 usd"):
        assert words in "\n".join(explained), words


async def test_the_chain_of_snapshots_says_which_stands_for_which(world: World) -> None:
    customer, subscription = await subscribed(world)
    event = await world.use(customer, utc("2025-01-10"), "100")
    await world.advance(utc("2025-02-02"))
    for quantity, day in (("150", "2025-03-02"), ("120", "2025-04-02")):
        await amend(world, customer, event, quantity)
        await world.advance(utc(day))
    async with world.database.transaction(world.scope) as session:
        query = select(UsageSnapshotRow).where(UsageSnapshotRow.period_start == JANUARY)
        snapshots = {row.id: row for row in (await session.exec(query)).all()}
    newest = next(row for row in snapshots.values() if row.id not in {each.supersedes for each in snapshots.values()})
    middle = snapshots[newest.supersedes or ""]
    oldest = snapshots[middle.supersedes or ""]
    assert [row.quantity for row in (oldest, middle, newest)] == [Decimal(100), Decimal(150), Decimal(120)]
    assert oldest.supersedes is None
    invoices = await world.invoices(subscription.id)
    assert [row.invoice_id for row in (oldest, middle, newest)] == [invoice.id for invoice in invoices[1:4]]


async def test_what_comes_later_than_62_days_after_the_period_is_left_out(world: World) -> None:
    """Events, and corrections of events: counted is what was known then, whatever is known now."""
    await world.configure(late_usage_periods=6)
    customer, subscription = await subscribed(world)
    first = await world.use(customer, utc("2025-01-10"), "100")
    second = await world.use(customer, utc("2025-01-11"), "50")
    await world.advance(utc("2025-04-05"))  # the 62 days after January ended on 4 April
    await world.use(customer, utc("2025-01-12"), "7", received=utc("2025-04-04"))
    await world.use(customer, utc("2025-01-13"), "1000", received=utc("2025-04-05"))
    await amend(world, customer, first, "900")
    await void_event(world, customer, second)
    await world.advance(utc("2025-05-02"))

    april = await last(world, subscription)
    assert await adjustments(world, april) == [(JANUARY, FEBRUARY, Decimal(7), Decimal("0.14"))]
    await world.advance(utc("2025-06-02"))
    assert await adjustments(world, await last(world, subscription)) == []


async def test_an_ended_subscription_has_one_adjustment_invoice_when_its_look_back_ends(world: World) -> None:
    customer, subscription = await subscribed(world)
    await world.use(customer, utc("2025-01-10"), "100")
    await world.advance(utc("2025-02-10"))
    await world.use(customer, utc("2025-02-05"), "50")
    ended = await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    assert ended.next_action_at == utc("2025-04-13")  # 62 days later
    await world.advance(utc("2025-04-01"))
    assert len(await world.invoices(subscription.id)) == 3
    await world.use(customer, utc("2025-01-20"), "100", received=utc("2025-04-01"))
    await world.use(customer, utc("2025-02-06"), "25", received=utc("2025-04-01"))
    with pytest.raises(Conflict, match="the subscription is cancelled"):
        await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")

    await world.advance(utc("2025-04-13"))

    adjusting = await last(world, subscription)
    assert (adjusting.billing_reason, adjusting.finalized_at) == ("SUBSCRIPTION_CYCLE", utc("2025-04-13"))
    assert await adjustments(world, adjusting) == [
        (JANUARY, FEBRUARY, Decimal(100), Decimal(2)),
        (FEBRUARY, utc("2025-02-10"), Decimal(25), Decimal("0.5")),
    ]
    assert (adjusting.total, adjusting.payment_status) == (Decimal("2.5"), "SUCCEEDED")
    await world.subscription_workflow(subscription.id).result()
    await world.advance(utc("2026-01-01"))
    assert len(await world.invoices(subscription.id)) == 4
    assert (await world.subscription(subscription.id)).next_action_at is None


async def test_an_ended_subscription_without_a_difference_has_no_invoice_more(world: World) -> None:
    customer, subscription = await subscribed(world)
    await world.use(customer, utc("2025-01-10"), "100")
    await world.advance(utc("2025-02-10"))
    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    await world.advance(utc("2025-05-01"))
    await world.subscription_workflow(subscription.id).result()
    assert len(await world.invoices(subscription.id)) == 3
    assert await chain(world) == []


async def test_where_late_usage_is_ignored_nothing_is_looked_back_on(world: World) -> None:
    await world.configure(late_usage="ignore")
    customer, subscription = await subscribed(world)
    await world.advance(utc("2025-02-02"))
    await world.use(customer, utc("2025-01-20"), "100", received=utc("2025-02-02"))
    await world.advance(utc("2025-03-02"))
    assert (await last(world, subscription)).total == Decimal(10)
    ended = await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    assert ended.next_action_at is None
    await world.subscription_workflow(subscription.id).result()


async def test_a_closed_period_is_counted_by_the_filters_that_its_meter_had(world: World) -> None:
    customer, subscription = await subscribed(world)
    await world.use(customer, utc("2025-01-10"), "100")
    await world.advance(utc("2025-02-02"))
    async with world.database.transaction(world.scope) as session:
        meter = (await session.exec(select(MeterRow))).one()
        only_europe = (MeterFilter("region", ("eu",)),)
        await update_meter_filters(session, world.scope, meter.id, only_europe, utc("2025-02-02"))
    await world.use(customer, utc("2025-01-20"), "50", received=utc("2025-02-02"))
    await world.use(customer, utc("2025-02-20"), "500", received=utc("2025-02-02"))
    await world.advance(utc("2025-03-02"))
    february = await last(world, subscription)
    assert await adjustments(world, february) == [(JANUARY, FEBRUARY, Decimal(50), Decimal(1))]
    assert february.total == Decimal(11)  # a seat; February's calls were not made in Europe


async def test_one_tenants_late_usage_is_no_others(world: World) -> None:
    other = await world.another_tenant()
    customer, subscription = await subscribed(world)
    stranger, theirs = await subscribed(other)
    assert customer.external_id == stranger.external_id
    for each in (world, other):
        await each.advance(utc("2025-02-02"))
    await world.use(customer, utc("2025-01-20"), "100", received=utc("2025-02-02"))
    for each in (world, other):
        await each.advance(utc("2025-03-02"))
    assert await adjustments(world, await last(world, subscription)) == [(JANUARY, FEBRUARY, Decimal(100), Decimal(2))]
    assert await adjustments(other, await last(other, theirs)) == []
    assert await chain(other) == []


async def test_periods_that_end_with_a_month_and_with_the_clocks_going_forward(world: World) -> None:
    """From the 31st in Berlin: the last of February, the last of March after the change of the clocks."""
    start, february, march, april = (
        utc(f"2025-{day}T{hour}:00") for day, hour in (("01-30", 23), ("02-27", 23), ("03-30", 22), ("04-29", 22))
    )
    customer, subscription = await subscribed(world, "Europe/Berlin", start)
    await world.advance(utc("2025-04-02"))
    for at, quantity in (
        (february - timedelta(seconds=1), "10"),
        (february, "100"),
        (march - timedelta(seconds=1), "1"),
        (march, "1000"),  # in the running period: no correction
    ):
        await world.use(customer, at, quantity, received=utc("2025-04-02"))
    await world.advance(utc("2025-05-02"))
    assert await adjustments(world, await last(world, subscription)) == [
        (start, february, Decimal(10), Decimal("0.2")),
        (february, march, Decimal(101), Decimal("2.02")),
    ]
    invoice = await last(world, subscription)
    assert (invoice.period_start, invoice.period_end) == (march, april)
    assert invoice.subtotal == Decimal("32.22")  # a seat, 1000 calls, and the corrections
