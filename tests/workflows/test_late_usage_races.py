"""Corrections are counted once: whatever dies, is repeated, or happens at the same time.

Days are billed, with two days of grace, so that several invoices are drafts at a time. A call costs 0.02.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlmodel import select
from temporalio.exceptions import ApplicationError

from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.invoices import FinalizeInvoice, InvoiceActivities
from activities.late_usage import LateUsage
from activities.subscriptions import ClosePeriod, SubscriptionActivities
from activities.usage_reader import UsageReader
from billing.errors import Conflict
from billing.meters import Meter, UsageQuantity
from billing.money import total
from billing.periods import BillingPeriod, Period
from models.queries.invoices import list_lines
from models.queries.wallets import find_active_wallet, list_lots
from models.scope import Scope
from models.tables import CustomerRow, InvoiceRow, SubscriptionRow
from starter.billing_runs import follow
from starter.clients import required
from tests.event_changes import void_event
from tests.workflows.test_billing_runs import ignore, lost, paid, shifted, started
from tests.workflows.test_late_usage import adjustments, chain, last
from tests.workflows.test_resets import money, reset
from tests.world import World, utc

START = utc("2025-01-01")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
Hook = Callable[[], Awaitable[object]]


class Interrupted(UsageReader):
    """A reader of usage, after whose first answer something else happens."""

    def __init__(self, world: World, hook: Hook | None = None) -> None:
        super().__init__(required(world.clients.clickhouse, "clickhouse"))
        self.hook = hook

    async def read(
        self, scope: Scope, external_customer_id: str, meters: Sequence[Meter], period: Period,
        known_before: datetime | None = None,
    ) -> dict[str, UsageQuantity]:  # fmt: skip
        found = await super().read(scope, external_customer_id, meters, period, known_before)
        hook, self.hook = self.hook, None
        if hook is not None:
            await hook()
        return found


class Story:
    """Daily periods, of which the first is final and later ones are drafts; `late` calls of the first day come then."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.customer: CustomerRow
        self.subscription: SubscriptionRow
        self.first = ""

    async def begin(self, card: str | None = "pm_card_succeeds") -> "Story":
        await self.world.configure(finalization_delay_seconds=2 * 86400)
        await self.world.sell(BillingPeriod.DAILY)
        await self.world.clock(START)
        self.customer = await self.world.customer("acme")
        self.subscription = await self.world.subscribe(self.customer, START, card=card)
        self.first = await self.world.use(self.customer, START + HOUR, "100")
        await self.world.advance(START + 3 * DAY + HOUR)
        return self

    async def late(self, quantity: str, day: int = 0) -> str:
        return await self.world.use(
            self.customer, START + day * DAY + 2 * HOUR, quantity, received=START + 3 * DAY + HOUR
        )

    async def drafts(self) -> list[InvoiceRow]:
        invoices = await self.world.invoices(self.subscription.id)
        return [invoice for invoice in invoices if invoice.invoice_status == "DRAFT"]

    async def finalize(self, invoice: InvoiceRow, hook: Hook | None = None) -> None:
        activities = InvoiceActivities(self.world.database, Interrupted(self.world, hook), StoredBeforeAnswered())
        now = (await self.world.clock_row()).frozen_time
        await activities.finalize(FinalizeInvoice(self.world.scope, invoice.id, now, datetime.now(UTC), forced=True))
        await self.world.invoice_workflow(invoice.id).signal("retry")  # it was not the one who asked

    async def billed(self) -> Decimal:
        """What was billed for calls, on invoices that stand."""
        amounts: list[Decimal] = []
        for invoice in await self.world.invoices(self.subscription.id):
            if invoice.invoice_status != "FINALIZED":
                continue
            async with self.world.database.transaction(self.world.scope) as session:
                lines = await list_lines(session, invoice.id)
            amounts += [line.amount for line in lines if line.meter_id]
        return total(amounts)


@pytest.fixture
async def story(world: World) -> Story:
    return await Story(world).begin()


async def test_invoices_in_their_grace_at_the_same_time_bill_late_calls_once(story: Story) -> None:
    for quantity in ("1", "10", "100"):
        await story.late(quantity)
        await story.world.advance((await story.world.clock_row()).frozen_time + DAY)
    await story.world.advance(START + 12 * DAY)
    # The first day is looked back on by the next two: 1 and 10 come in time for these, 100 does not.
    assert await story.billed() == Decimal("2.22")
    assert await story.drafts() != []


@pytest.mark.parametrize("newer", [False, True], ids=["the same usage", "usage that came in between"])
async def test_one_that_read_before_another_corrected_reads_again(story: Story, newer: bool) -> None:
    await story.late("10")
    second, third = await story.drafts()

    async def meanwhile() -> None:
        if newer:
            await story.late("5")
        await story.finalize(second)

    with pytest.raises(ApplicationError) as refused:
        await story.finalize(third, meanwhile)
    assert refused.value.type == "late_usage_moved"
    await story.finalize(third)
    await story.finalize(third)  # a finalized one is answered as it is
    assert [row.carrier_invoice_id for row in await chain(story.world)] == [second.id]
    assert await story.billed() == (Decimal("2.3") if newer else Decimal("2.2"))
    await story.world.advance(START + 8 * DAY)
    assert await story.billed() == (Decimal("2.3") if newer else Decimal("2.2"))


async def test_two_that_are_finalized_at_once_correct_once(story: Story) -> None:
    await story.late("10")
    await story.late("7", day=1)
    second, third = await story.drafts()
    answers = await asyncio.gather(story.finalize(second), story.finalize(third), return_exceptions=True)
    for invoice, answer in zip((second, third), answers, strict=True):
        if answer is not None:
            assert isinstance(answer, ApplicationError)
            await story.finalize(invoice)
    await story.world.advance(START + 8 * DAY)
    assert await story.billed() == Decimal("2.34")
    assert len(await chain(story.world)) == 1


async def test_finalized_out_of_order_nothing_is_billed_twice(story: Story) -> None:
    await story.late("10")
    second, third = await story.drafts()
    await story.finalize(third)
    await story.late("5", day=1)
    await story.finalize(second)
    await story.world.advance(START + 8 * DAY)
    assert await story.billed() == Decimal("2.3")


async def test_a_crash_after_the_read_leaves_nothing_and_the_next_try_corrects(story: Story) -> None:
    await story.late("10")
    second, _ = await story.drafts()

    async def dies() -> None:
        raise ConnectionError("killed between the read and the transaction")

    with pytest.raises(ConnectionError):
        await story.finalize(second, dies)
    assert await chain(story.world) == []
    await story.world.advance(START + 8 * DAY)
    assert await story.billed() == Decimal("2.2")


async def test_the_charges_of_a_voided_carrier_are_open_again(world: World) -> None:
    story = await Story(world).begin(card=None)
    await story.late("10")
    second, third = await story.drafts()
    await story.finalize(second)
    assert await adjustments(world, second) == [(START, START + DAY, Decimal(10), Decimal("0.2"))]
    await world.commands.void_invoice(world.scope, second.id, "a mistake")
    assert await story.billed() == Decimal(2)
    await story.finalize(third)
    assert await adjustments(world, third) == [(START, START + DAY, Decimal(10), Decimal("0.2"))]
    await world.advance(START + 8 * DAY)
    assert await story.billed() == Decimal("2.2")
    assert len(await chain(world)) == 2


async def test_the_credits_of_a_voided_carrier_stay_given(world: World) -> None:
    story = await Story(world).begin(card=None)
    await world.use(story.customer, START + DAY + HOUR, "80", received=START + 3 * DAY + HOUR)
    await void_event(world, story.customer, story.first)
    second, third = await story.drafts()
    await story.finalize(second)
    # A seat and 80 calls, less the 100 calls of the first day.
    assert (await world.invoice(second.id)).total == Decimal("9.6")

    await world.commands.void_invoice(world.scope, second.id, "a mistake")
    await story.finalize(third)

    # What the charges of the voided one had used up of the credit went to the wallet; the third's period is over by
    # then, so that it waits for the next.
    assert await adjustments(world, third) == []
    row = await world.invoice(third.id)
    assert (row.subtotal, row.total_prepaid_credits_applied) == (Decimal(10), Decimal(0))
    async with world.database.transaction(world.scope) as session:
        wallet = await find_active_wallet(session, world.scope, story.customer.id, "usd", "PRE_PAID")
        assert wallet is not None
        lots = await list_lots(session, [wallet.id])
    assert total(lot.remaining for lot in lots[wallet.id]) == Decimal(2)


async def test_what_was_credited_and_never_paid_is_not_voided_as_well(world: World) -> None:
    story = await Story(world).begin(card=None)
    first = (await world.invoices(story.subscription.id))[1]
    assert first.total == Decimal(12)
    await void_event(world, story.customer, story.first)
    second, _ = await story.drafts()
    await story.finalize(second)
    with pytest.raises(Conflict, match="credited already"):
        await world.commands.void_invoice(world.scope, first.id, "a mistake")


async def test_a_void_between_read_and_use_is_noticed(world: World) -> None:
    story = await Story(world).begin(card=None)
    await story.late("10")
    second, third = await story.drafts()
    await story.finalize(second)

    async def void() -> None:
        await world.commands.void_invoice(world.scope, second.id, "a mistake")

    with pytest.raises(ApplicationError) as refused:
        await story.finalize(third, void)
    assert refused.value.type == "late_usage_moved"
    await story.finalize(third)
    assert await story.billed() == Decimal("2.2")


async def test_resets_correct_nothing_again(story: Story) -> None:
    await story.late("10")
    world, subscription = story.world, story.subscription
    await world.advance(START + 8 * DAY)
    carrier = (await chain(world))[0].carrier_invoice_id
    assert carrier
    await world.closed(carrier)
    before, corrections = await money(world, subscription.id), await chain(world)
    workflow = world.invoice_workflow(carrier)
    run_id = (await workflow.describe()).run_id
    assert run_id
    await reset(world, workflow.id, run_id)
    await workflow.signal("retry")
    await world.closed(carrier)
    assert await money(world, subscription.id) == before
    assert await chain(world) == corrections


async def test_the_end_of_a_look_back_that_is_repeated_makes_one_invoice(story: Story) -> None:
    world, subscription = story.world, story.subscription
    await world.commands.cancel_subscription(world.scope, subscription.id, "immediate")
    await world.advance(START + 7 * DAY)
    await story.late("10", day=2)
    row = await world.subscription(subscription.id)
    assert row.next_action_at is not None
    late = LateUsage(world.database, Interrupted(world), StoredBeforeAnswered())
    activities = SubscriptionActivities(world.database, world.gate, late)
    command = ClosePeriod(world.scope, subscription.id, row.next_action_at, row.next_action_at)

    before = len(await world.invoices(subscription.id))
    states = [await activities.close_period(command) for _ in range(2)]

    assert [state.next_action_at for state in states] == [None, None]
    assert len(await world.invoices(subscription.id)) == before + 1
    await world.advance(START + 90 * DAY)
    assert await adjustments(world, await last(world, subscription)) == [
        (START + 2 * DAY, START + 3 * DAY, Decimal(10), Decimal("0.2"))
    ]
    assert await story.billed() == Decimal("2.2")


async def test_the_database_refuses_two_corrections_from_one_state(story: Story) -> None:
    """Were the lock ever missing, the second of two that count the same would fail and be done again."""
    await story.late("10")
    second, third = await story.drafts()
    await story.finalize(second)
    (row,) = await chain(story.world)
    copied = type(row)(**{**row.model_dump(), "id": "another", "carrier_invoice_id": third.id})
    with pytest.raises(Exception, match="usage_corrections_sequence"):
        async with story.world.database.transaction(story.world.scope) as session:
            session.add(copied)
    async with story.world.database.transaction(story.world.scope) as session:
        assert len((await session.exec(select(type(row)))).all()) == 1


async def test_a_preview_of_two_closes_corrects_once_as_the_run_does(world: World) -> None:
    (row,) = await lost(world, 1, days=4)
    await shifted(world, row.id, -DAY)
    customer = await world.customer_named("customer-0")
    now = datetime.now(UTC)
    await world.use(customer, now - 40 * HOUR, "50", received=now)  # of a closed day, and, since that moved, of today
    report = await follow(await started(world, dry_run=True), ignore)
    assert [previewed.total for previewed in report.invoices] == ["12", "10"]

    known = {invoice.id for invoice in await world.invoices(row.id)}
    await follow(await started(world), ignore)
    made = [invoice for invoice in await world.invoices(row.id) if invoice.id not in known]
    assert total([(await paid(world, invoice.id)).total for invoice in made]) == Decimal(22)
    assert len(await chain(world)) == 1
