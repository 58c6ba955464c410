"""Invoices that fall due together are frozen together: few reads of ClickHouse, and nobody's amounts are another's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import col, select

from activities.closing_usage import FRESH, ClosingUsage
from activities.grouped_usage import GroupedUsage
from activities.ingestion.direct_progress import StoredBeforeAnswered
from activities.invoices import FinalizeInvoice, InvoiceActivities
from activities.late_usage import LateUsage
from activities.states import InvoiceState
from activities.subscriptions import ClosePeriod, SubscriptionActivities
from activities.usage_reader import UsageReader
from billing.periods import BillingPeriod
from models.clickhouse.client import ClickHouseRefused
from models.tables import CustomerRow, InvoiceRow, MeterRow, UsageSnapshotRow
from starter.clients import required
from tests.usage.test_grouped_usage import Counting
from tests.world import World

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GRACE = 60


@pytest.fixture(scope="module", autouse=True)
async def _by_hand(stage: World) -> AsyncIterator[None]:
    """Nobody else closes or finalizes meanwhile."""
    await stage.stop_workers()
    yield
    await stage.start_workers()


class Drafts:
    """A gate that starts nothing: the invoices stay drafts."""

    def __init__(self) -> None:
        self.made: list[InvoiceState] = []

    async def start_invoice(self, state: InvoiceState, clock: datetime | None) -> None:
        """Keeps it."""
        self.made.append(state)


async def drafts_of(world: World, customers: int) -> list[InvoiceState]:
    """Closed days of so many customers, whose grace is over; the n-th one has used n calls."""
    await world.configure(finalization_delay_seconds=GRACE)
    await world.sell(BillingPeriod.DAILY)
    start = datetime.now(UTC).replace(microsecond=0) - DAY - HOUR
    gate, clickhouse = Drafts(), required(world.clients.clickhouse, "clickhouse")
    late = LateUsage(world.database, UsageReader(clickhouse), StoredBeforeAnswered())
    activities = SubscriptionActivities(world.database, gate, late)  # type: ignore[arg-type]  # nothing else is asked
    for number in range(1, customers + 1):
        customer = await world.customer(f"c-{number}")
        subscription = await world.subscribe(customer, start, card=None)
        await world.use(customer, start + HOUR, str(number))
        for boundary in (start, start + DAY):
            await activities.close_period(ClosePeriod(world.scope, subscription.id, boundary))
    return [state for state in gate.made if state.next_action_at == start + DAY + timedelta(seconds=GRACE)]


async def frozen(world: World) -> list[tuple[InvoiceRow, UsageSnapshotRow]]:
    """The final invoices with usage, and it."""
    query = (
        select(InvoiceRow, UsageSnapshotRow)
        .join(UsageSnapshotRow, col(UsageSnapshotRow.invoice_id) == col(InvoiceRow.id))
        .where(InvoiceRow.invoice_status == "FINALIZED")
    )
    async with world.database.transaction(world.scope) as session:
        return list((await session.exec(query)).all())


async def right(world: World, customers: int) -> set[datetime]:
    """Every invoice bills its own customer's calls. Returns the cut-offs."""
    found = await frozen(world)
    async with world.database.transaction(world.scope) as session:
        names = dict((await session.exec(select(CustomerRow.id, CustomerRow.external_id))).all())
    calls = {names[invoice.customer_id]: snapshot.quantity for invoice, snapshot in found}
    assert calls == {f"c-{number}": Decimal(number) for number in range(1, customers + 1)}
    assert all(snapshot.cutoff_at >= invoice.finalize_at for invoice, snapshot in found)
    return {snapshot.cutoff_at for _, snapshot in found}


class Closing:
    """A worker's way to finalize: so many at a time as it has slots."""

    def __init__(self, world: World, poison: str = "-") -> None:
        self.world = world
        clickhouse: Any = world.clients.clickhouse
        self.counting = Counting(clickhouse, poison)
        usage = GroupedUsage(self.counting)
        closing = ClosingUsage(world.database, usage)
        self._activities = InvoiceActivities(world.database, usage, StoredBeforeAnswered(), closing)

    async def finalize(self, draft: InvoiceState, cutoff: datetime | None = None, forced: bool = False) -> InvoiceState:
        """One of them; its state afterwards."""
        now = cutoff or datetime.now(UTC)
        return await self._activities.finalize(FinalizeInvoice(draft.scope, draft.invoice_id, now, now, forced))

    async def finalize_all(self, drafts: Sequence[InvoiceState]) -> list[InvoiceState | BaseException]:
        """Each with the cut-off of its own turn."""
        slots = asyncio.Semaphore(10)

        async def one(draft: InvoiceState) -> InvoiceState:
            async with slots:
                return await self.finalize(draft)

        return await asyncio.gather(*(one(draft) for draft in drafts), return_exceptions=True)


async def test_closes_by_real_workers_share_their_reads(world: World) -> None:
    """Totals, charts, and what is sealed: 250 share these, then 500, then 1,000. 10,000 take twelve times three.

    One after the other, 24 would take 48.
    """
    drafts = await drafts_of(world, 24)
    clickhouse = required(world.clients.clickhouse, "clickhouse")

    async def reads() -> int:
        rows = await clickhouse.query("SELECT sum(value) FROM system.events WHERE event = 'SelectQuery'")
        return int(rows[0][0])

    for draft in drafts:
        await world.gate.start_invoice(draft, None)
    before = await reads()
    await world.start_workers()
    try:
        async with asyncio.timeout(200):
            while len(await frozen(world)) < len(drafts):  # noqa: ASYNC110  # nobody sets an event for it
                await asyncio.sleep(0.2)
    finally:
        await world.stop_workers()
    taken = await reads() - before - 1
    cutoffs = await right(world, 24)
    print(f"24 closes: {taken} reads of ClickHouse, {len(cutoffs)} cut-offs")
    assert taken <= 3 * len(cutoffs)
    assert len(cutoffs) == 1 or max(cutoffs) - min(cutoffs) > FRESH  # a machine so slow that it takes minutes


async def test_who_is_finalized_later_is_read_with_the_first(world: World) -> None:
    drafts, closing = await drafts_of(world, 12), Closing(world)
    answers = await closing.finalize_all(drafts)
    assert [answer.invoice_status for answer in answers if isinstance(answer, InvoiceState)] == ["FINALIZED"] * 12
    assert closing.counting.queries == 2  # the totals and the charts
    assert len(await right(world, 12)) == 1


async def test_what_has_been_read_is_used_for_two_minutes(world: World) -> None:
    drafts, closing = await drafts_of(world, 3), Closing(world)
    first = datetime.now(UTC)
    await closing.finalize(drafts[0], first)
    customer = await world.customer_named("c-2")
    start = (await world.invoice(drafts[1].invoice_id)).period_start
    await world.use(customer, start + 2 * HOUR, "1000")
    customer = await world.customer_named("c-3")
    await world.use(customer, start + 2 * HOUR, "1000")
    await closing.finalize(drafts[1], first + FRESH)
    await closing.finalize(drafts[2], first + FRESH + timedelta(milliseconds=1))
    calls = [(int(snapshot.quantity), snapshot.cutoff_at) for _, snapshot in await frozen(world)]
    later = first + FRESH + timedelta(milliseconds=1)
    assert sorted(calls) == [(1, first), (2, first), (1003, later)]


async def test_who_is_finalized_by_command_is_read_anew(world: World) -> None:
    drafts, closing = await drafts_of(world, 2), Closing(world)
    await closing.finalize(drafts[0])
    customer = await world.customer_named("c-2")
    await world.use(customer, (await world.invoice(drafts[1].invoice_id)).period_start + 2 * HOUR, "1000")
    await closing.finalize(drafts[1], forced=True)
    assert sorted(snapshot.quantity for _, snapshot in await frozen(world)) == [1, 1002]


async def test_drafts_in_their_grace_are_not_read_with_those_that_are_due(world: World) -> None:
    drafts, closing = await drafts_of(world, 3), Closing(world)
    before = datetime.now(UTC)
    async with world.database.transaction(world.scope) as session:
        row = await session.get_one(InvoiceRow, drafts[2].invoice_id)
        row.finalize_at = row.next_action_at = before + HOUR
    await closing.finalize_all(drafts[:2])
    customer = await world.customer_named("c-3")
    await world.use(customer, (await world.invoice(drafts[2].invoice_id)).period_start + 2 * HOUR, "1000")
    await closing.finalize(drafts[2], before + HOUR)
    assert sorted(snapshot.quantity for _, snapshot in await frozen(world)) == [1, 2, 1003]


async def test_a_meter_that_cannot_be_read_fails_only_its_tenant(world: World) -> None:
    other = await world.another_tenant()
    poisoned, fine = await drafts_of(world, 3), await drafts_of(other, 3)
    async with world.database.transaction(world.scope) as session:
        meter = (await session.exec(select(MeterRow))).one()
        meter.event_name = "poison"
    closing = Closing(world, poison="poison")
    answers = await closing.finalize_all([draft for pair in zip(poisoned, fine, strict=True) for draft in pair])
    assert all(isinstance(answer, ClickHouseRefused) for answer in answers[::2]), answers
    assert len(await right(other, 3)) == 1
    # Mended, it is read anew: nothing of a failure is kept.
    async with world.database.transaction(world.scope) as session:
        meter = (await session.exec(select(MeterRow))).one()
        meter.event_name = "call"
    assert not any(isinstance(answer, BaseException) for answer in await closing.finalize_all(poisoned))
    await right(world, 3)
