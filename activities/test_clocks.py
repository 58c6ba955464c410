"""Test clocks: moving the time of the customers attached to one, from due instant to due instant, in order."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.balance_alerts import BalanceAlerts
from activities.bookkeeping import new_columns, scope_of, touch
from activities.business_time import clock_now
from activities.collection import collection_state
from activities.gate import WorkflowGate
from activities.ingestion.ports import UsageProgress
from activities.outbox import START_TEST_CLOCK, enqueue
from activities.revenue import BATCH, release_due
from activities.states import ClockState, InvoiceState, SubscriptionState
from activities.subscriptions import subscription_state
from activities.thresholds import Thresholds
from activities.usage_reader import UsageReader
from activities.wallet_expiry import expire_due
from billing.errors import AlreadyExists, BillingError, Conflict, Invalid, NotFound
from billing.order import act_first
from billing.thresholds import checked_after
from models.clickhouse.event_query import EventQuery
from models.database import Database
from models.ids import new_id
from models.queries.customers import get_customer
from models.queries.full_hours import alerts_due, first_look, has_level, note_change, thresholds_due
from models.queries.invoices import first_due_invoice, list_due_invoices
from models.queries.subscriptions import first_due_subscription, get_subscription, list_due_subscriptions
from models.queries.wallets import get_wallet, list_lots
from models.scope import Scope
from models.tables import TestClockRow

Result = TypeVar("Result")
BEAT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BeginAdvance:
    """Set the clock on its way to `to`."""

    scope: Scope
    clock_id: str
    to: datetime


@dataclass(frozen=True, slots=True)
class StepClock:
    """Do everything at the next due instant; events accepted before the real instant `cutoff` must have been stored."""

    scope: Scope
    clock_id: str
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class FailAdvance:
    """The clock cannot go on."""

    scope: Scope
    clock_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class _Due:
    """What acts at an instant, in order."""

    at: datetime
    subscriptions: tuple[SubscriptionState, ...] = ()
    thresholds: tuple[str, ...] = ()
    """Subscriptions whose unbilled usage is looked at."""
    invoices: tuple[InvoiceState, ...] = ()
    wallets: tuple[str, ...] = ()
    """Wallets whose balance is looked at."""


class ClockActivities:
    """The steps of a test clock. Customers act one after the other, so that a story always plays the same."""

    def __init__(
        self,
        database: Database,
        gate: WorkflowGate,
        progress: UsageProgress,
        thresholds: Thresholds,
        alerts: BalanceAlerts,
        usage: UsageReader,
    ) -> None:
        self._database = database
        self._gate = gate
        self._progress = progress
        self._thresholds = thresholds
        self._alerts = alerts
        self._usage = usage

    @activity.defn(name="clocks.begin")
    async def begin(self, command: BeginAdvance) -> ClockState:
        """Notes the target. Raises Conflict while the clock advances to another, Invalid for one in its past."""
        async with self._database.transaction(command.scope) as session:
            clock = await get_clock(session, command.clock_id, lock=True)
            check_advance(clock, command.to)
            clock.target_time, clock.clock_status, clock.problem = command.to, "advancing", None
            touch(clock)
            # Events may have come, and commands, while it stood.
            await note_change(session, clock.id, checked_after(clock.frozen_time))
            return clock_state(clock)

    @activity.defn(name="clocks.step")
    async def step(self, command: StepClock) -> ClockState:
        """Everything due at the next instant; with nothing due before the target, the arrival there."""
        if not await self._progress.settled(command.cutoff):
            raise ApplicationError("events that were accepted are not stored yet", type="usage_pending")
        async with self._database.transaction(command.scope) as session:
            clock = await get_clock(session, command.clock_id, lock=True)
            due = await _next_due(session, clock)
            if due is None:
                return await _arrive(session, clock)
            clock.frozen_time = max(clock.frozen_time, due.at)
            touch(clock)
            state = clock_state(clock)
        await _with_heartbeat(self._act(command, due, state.target_time))
        await self._must_have_moved(command, due)
        return state

    @activity.defn(name="clocks.fail")
    async def fail(self, command: FailAdvance) -> ClockState:
        """Stops the clock where it is and says why; it can be advanced again once the cause is mended."""
        async with self._database.transaction(command.scope) as session:
            clock = await get_clock(session, command.clock_id, lock=True)
            clock.clock_status, clock.problem = "internal_failure", command.problem
            touch(clock)
            return clock_state(clock)

    async def _act(self, command: StepClock, due: _Due, target: datetime) -> None:
        for subscription in due.subscriptions:
            with _in_the_name_of(f"subscription {subscription.subscription_id} of {subscription.customer_id}"):
                await self._gate.advance_subscription(subscription, due.at)
        for invoice in due.invoices:
            with _in_the_name_of(f"invoice {invoice.number or invoice.invoice_id} of {invoice.customer_id}"):
                await self._gate.advance_invoice(invoice, due.at)
        for subscription_id in due.thresholds:
            with _in_the_name_of(f"the threshold of subscription {subscription_id}"):
                await self._check_threshold(command, subscription_id, due.at, target)
        for wallet_id in due.wallets:
            with _in_the_name_of(f"the alerts of wallet {wallet_id}"):
                await self._look_at_balance(command.scope, wallet_id, due.at, target)
        if due.subscriptions or due.invoices:
            async with self._database.transaction(command.scope) as session:
                await note_change(session, command.clock_id, checked_after(due.at))

    async def _check_threshold(self, command: StepClock, subscription_id: str, at: datetime, target: datetime) -> None:
        scope = command.scope
        drafted = await self._thresholds.check(scope, subscription_id, at, command.cutoff)
        async with self._database.transaction(scope) as session:
            customer_id = (await get_subscription(session, subscription_id)).customer_id
            again = drafted is not None or await has_level(session, subscription_id)
        look_at = checked_after(at) if again else await self._next_use(scope, customer_id, at, target)
        async with self._database.transaction(scope) as session:
            (await get_subscription(session, subscription_id, lock=True)).threshold_check_at = look_at

    async def _look_at_balance(self, scope: Scope, wallet_id: str, at: datetime, target: datetime) -> None:
        await self._alerts.look(scope, wallet_id, at)
        async with self._database.transaction(scope) as session:
            customer_id = (await get_wallet(session, scope, wallet_id)).customer_id
            lots = (await list_lots(session, [wallet_id]))[wallet_id]
        expiries = [lot.expires_at for lot in lots if lot.expires_at is not None and at <= lot.expires_at < target]
        looks = [checked_after(expiry) for expiry in expiries]
        if (used := await self._next_use(scope, customer_id, at, target)) is not None:
            looks.append(used)
        async with self._database.transaction(scope) as session:
            (await get_wallet(session, scope, wallet_id, lock=True)).alert_check_at = min(looks, default=None)

    async def _next_use(self, scope: Scope, customer_id: str, at: datetime, target: datetime) -> datetime | None:
        """The full hour after the customer's first usage from `at` on, on the way to `target`: it was sent ahead."""
        if at >= target:
            return None
        async with self._database.transaction(scope) as session:
            external_id = (await get_customer(session, scope, customer_id)).external_id
        first = EventQuery(
            scope.tenant_id, scope.environment_id, at, target, external_id, page_size=1, ascending=True
        )  # fmt: skip
        found = (await self._usage.events(first)).events
        return checked_after(found[0].timestamp) if found else None

    async def _must_have_moved(self, command: StepClock, due: _Due) -> None:
        """A step that changed nothing would be repeated for ever; the next try may find the workflow mended."""
        async with self._database.transaction(command.scope) as session:
            left = await _next_due(session, await get_clock(session, command.clock_id))
        if left is not None and _stuck(due, left):
            names = ", ".join(_names(left))
            raise ApplicationError(f"still due at {due.at.isoformat()} after acting: {names}", type="clock_stuck")


@contextmanager
def _in_the_name_of(who: str) -> Iterator[None]:
    """A clock that stops says at whose step, and what the step said."""
    try:
        yield
    except BillingError as error:
        raise BillingError(f"{who}: {error.message}", error.field, error.details, error.code) from None


def _names(due: _Due) -> list[str]:
    acting = [s.subscription_id for s in due.subscriptions] + [i.invoice_id for i in due.invoices]
    return [*acting, *due.thresholds, *due.wallets]


def _stuck(before: _Due, after: _Due) -> bool:
    """Whether something stands exactly where it stood."""
    if set(before.subscriptions) & set(after.subscriptions) or set(before.invoices) & set(after.invoices):
        return True
    looked = set(before.thresholds) & set(after.thresholds) or set(before.wallets) & set(after.wallets)
    return bool(looked) and before.at == after.at


async def _next_due(session: AsyncSession, clock: TestClockRow) -> _Due | None:
    first = [
        instant
        for instant in (
            await first_due_subscription(session, clock.id),
            await first_due_invoice(session, clock.id),
            await first_look(session, clock.id),
        )
        if instant is not None
    ]
    if not first or min(first) > clock.target_time:
        return None
    at = min(first)
    due = [subscription_state(row) for row in await list_due_subscriptions(session, clock.id, at)]
    running = [each for each in due if not each.is_over]
    if not running and (thresholds := await thresholds_due(session, clock.id, at)):
        return _Due(at, thresholds=tuple(thresholds))
    invoices = [] if running else await list_due_invoices(session, clock.id, at)
    states = [await collection_state(session, row) for row in invoices]
    acting, then = act_first(running, states, due)
    wallets = () if acting or then else await alerts_due(session, clock.id, at)
    return _Due(at, subscriptions=tuple(acting), invoices=tuple(then), wallets=tuple(wallets))


async def _arrive(session: AsyncSession, clock: TestClockRow) -> ClockState:
    clock.frozen_time, clock.clock_status = clock.target_time, "ready"
    touch(clock)
    while await release_due(session, clock.frozen_time, test_clock_id=clock.id) == BATCH:
        await session.flush()
    _, after = await expire_due(session, clock.frozen_time, test_clock_id=clock.id)
    while after:
        _, after = await expire_due(session, clock.frozen_time, after=after, test_clock_id=clock.id)
    return clock_state(clock)


async def _with_heartbeat(work: Awaitable[Result]) -> Result:
    """Runs `work` and tells Temporal all the while that this worker lives."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            activity.heartbeat()
            await asyncio.wait({task}, timeout=BEAT_SECONDS)
    finally:
        task.cancel()
    return task.result()


async def create_test_clock(session: AsyncSession, scope: Scope, name: str, frozen_time: datetime) -> TestClockRow:
    """A new clock that stands at `frozen_time`. Raises AlreadyExists for a name that is taken."""
    if not name.strip():
        raise Invalid("name must not be empty", field="name")
    taken = select(TestClockRow.id).where(TestClockRow.name == name, TestClockRow.status == "published")
    if (await session.exec(taken)).first() is not None:
        raise AlreadyExists(f"a test clock named {name!r} exists", field="name")
    clock = TestClockRow(
        id=new_id("clock"), **new_columns(scope), name=name, frozen_time=frozen_time, target_time=frozen_time
    )
    session.add(clock)
    await session.flush()
    await enqueue(session, scope, START_TEST_CLOCK, clock.id)
    return clock


async def get_clock(session: AsyncSession, clock_id: str, *, lock: bool = False) -> TestClockRow:
    """The clock. Raises NotFound."""
    query = select(TestClockRow).where(TestClockRow.id == clock_id, TestClockRow.status == "published")
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"no test clock has the id {clock_id!r}", field="test_clock_id")
    return row


async def list_clocks(session: AsyncSession) -> list[TestClockRow]:
    """Every clock, oldest first."""
    query = select(TestClockRow).where(TestClockRow.status == "published").order_by(col(TestClockRow.created_at))
    return list((await session.exec(query)).all())


async def clock_for_new_customer(session: AsyncSession, clock_id: str) -> TestClockRow:
    """The clock that a new customer may join. Raises NotFound, and Conflict while it advances."""
    clock = await get_clock(session, clock_id, lock=True)
    if clock.clock_status == "advancing":
        raise Conflict(
            "a customer cannot join a test clock while it advances; wait until it is ready",
            state="advancing",
            field="test_clock_id",
        )
    return clock


async def business_now(session: AsyncSession, clock_id: str | None) -> datetime:
    """The time by which a customer lives: the test clock's, or the real one."""
    return await clock_now(session, clock_id) or datetime.now(UTC)


def check_advance(clock: TestClockRow, to: datetime) -> None:
    """Whether the clock may be sent to `to`. Where it goes, or stands, it may be sent again: an answer can get lost."""
    if clock.clock_status == "advancing" and to != clock.target_time:
        raise Conflict(
            f"the clock is advancing to {clock.target_time.isoformat()}; advance it again when it is ready",
            state="advancing",
        )
    if to < clock.frozen_time:
        raise Invalid(
            f"frozen_time must not lie before the clock's time {clock.frozen_time.isoformat()}; got {to.isoformat()}",
            field="frozen_time",
        )


def clock_state(row: TestClockRow) -> ClockState:
    """Where a clock stands, for its workflow."""
    return ClockState(scope_of(row), row.id, row.frozen_time, row.target_time, row.clock_status, row.problem)
