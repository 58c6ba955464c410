"""Finding what is due and not done, and waking the workflows that do it. Nothing is closed or collected here."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio import activity

from activities.billing_run_states import KINDS, DueCounts, Kind, NotDone, RunFilter
from activities.collection import collection_state
from activities.gate import Waker
from activities.states import InvoiceState, SubscriptionState
from activities.subscriptions import subscription_state
from billing.errors import Invalid
from models.database import Database
from models.queries.due_work import DueFilter, count_due, list_due
from models.tables import InvoiceRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class BeginRun:
    """A run as of `as_of`, or (None) of what has been due for `overdue_seconds` at the real instant `now`."""

    now: datetime
    as_of: datetime | None
    overdue_seconds: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class DuePage:
    """One page of due work of a kind: ids behind `after`, `most` at most."""

    wanted: RunFilter
    kind: Kind
    after: str
    most: int
    restart: bool = False
    """Workflows that have ended, as by somebody's hand, are started again: only when a person asks for the run."""


@dataclass(frozen=True, slots=True)
class Woken:
    """How many were woken, and the last one's id while there may be more."""

    count: int
    after: str


class BillingRunActivities:
    """Pages of one transaction each. Waking something twice does no more than waking it once."""

    def __init__(self, database: Database, waker: Waker, wake_spread_seconds: int = 0) -> None:
        self._database = database
        self._waker = waker
        self._wake_spread = timedelta(seconds=wake_spread_seconds)

    @activity.defn(name="billing_runs.begin")
    async def begin(self, command: BeginRun) -> datetime:
        """The instant up to which work counts as due. Raises Invalid for one to come, unless it is a dry run.

        Without `as_of`, wake-ups that are still being spread are left alone.
        """
        if command.as_of is None:
            return command.now - max(timedelta(seconds=command.overdue_seconds), self._wake_spread)
        if command.as_of > command.now and not command.dry_run:
            raise Invalid(
                f"as_of must not lie in the future: nothing is billed before its time; got {command.as_of.isoformat()}."
                " A preview may look ahead",
                field="as_of",
            )
        return command.as_of

    @activity.defn(name="billing_runs.count")
    async def count(self, wanted: RunFilter) -> DueCounts:
        """How much is due and not done."""
        async with self._database.system_transaction() as session:
            due = _filter(wanted)
            return DueCounts(await count_due(session, SubscriptionRow, due), await count_due(session, InvoiceRow, due))

    @activity.defn(name="billing_runs.wake")
    async def wake(self, page: DuePage) -> Woken:
        """Starts the workflows of one page that do not run, and has those that run look at what is due."""
        async with self._database.system_transaction() as session:
            states = await _states(session, page)
        for state in states:
            if isinstance(state, SubscriptionState):
                await self._waker.wake_subscription(state, restart=page.restart)
            else:
                await self._waker.wake_invoice(state, restart=page.restart)
            activity.heartbeat()
        return Woken(len(states), _id(states[-1]) if len(states) == page.most else "")

    @activity.defn(name="billing_runs.explain")
    async def explain(self, page: DuePage) -> list[NotDone]:
        """The first of what is still due, of every kind, each with what its workflow says."""
        found: list[NotDone] = []
        async with self._database.system_transaction() as session:
            for kind in KINDS:
                left = page.most - len(found)
                found += [_not_done(kind, row) for row in await due_rows(session, page.wanted, kind, "", left)]
        explained = []
        for one in found:
            reason = await self._waker.standing(one.kind, one.tenant_id, one.id)
            activity.heartbeat()
            explained.append(NotDone(one.kind, one.id, one.tenant_id, one.customer_id, one.due_at, reason))
        return explained


async def _states(session: AsyncSession, page: DuePage) -> list[SubscriptionState | InvoiceState]:
    states: list[SubscriptionState | InvoiceState] = []
    for row in await due_rows(session, page.wanted, page.kind, page.after, page.most):
        if isinstance(row, SubscriptionRow):
            states.append(subscription_state(row))
        else:
            states.append(await collection_state(session, row))
    return states


async def due_rows(
    session: AsyncSession, wanted: RunFilter, kind: Kind, after: str, most: int
) -> list[SubscriptionRow] | list[InvoiceRow]:
    """What is due of a kind, by id, from behind `after`."""
    if kind == "subscription":
        return await list_due(session, SubscriptionRow, _filter(wanted), after, most)
    return await list_due(session, InvoiceRow, _filter(wanted), after, most)


def _filter(wanted: RunFilter) -> DueFilter:
    return DueFilter(wanted.as_of, wanted.known_by, wanted.tenant_id, wanted.customer_id)


def _id(state: SubscriptionState | InvoiceState) -> str:
    return state.subscription_id if isinstance(state, SubscriptionState) else state.invoice_id


def _not_done(kind: Kind, row: SubscriptionRow | InvoiceRow) -> NotDone:
    assert row.next_action_at is not None
    return NotDone(kind, row.id, row.tenant_id, row.customer_id, row.next_action_at, "")
