"""Voiding and amending events that were accepted: written down first, then made to count.

Postgres says who, when and why; ClickHouse gets a new revision of the row (`models.clickhouse.event_rows`). Whatever
dies in between leaves a pending correction, which the same request, the next one about the event, and whoever reads
usage to freeze it, apply before anything else. Rule: billing-rules.md section 7.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns
from billing.errors import Conflict, Invalid, NotFound
from models.clickhouse.client import ClickHouse
from models.clickhouse.event_rows import EventRow, find_event_rows, insert_revision
from models.clickhouse.times import milliseconds
from models.database import Database
from models.ids import new_id
from models.queries.customer_clocks import frozen_times
from models.queries.event_corrections import find_last_correction, list_pending, lock_event, next_revision
from models.scope import Scope
from models.tables import EventCorrectionRow

VOID = "void"
AMEND = "amend"


@dataclass(frozen=True, slots=True)
class Amendment:
    """What an event should have said; what is None stays. `timestamp` in Unix milliseconds, `properties` JSON text."""

    event_name: str | None = None
    timestamp: int | None = None
    source: str | None = None
    properties: str | None = None

    def of(self, event: EventRow) -> EventRow:
        """The event as amended."""
        return replace(event, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, slots=True)
class Correction:
    """One request to correct an event. `external_customer_id` may be left out where one customer alone has the id."""

    scope: Scope
    event_id: str
    external_customer_id: str | None
    reason: str
    by: str
    """Id of the API key that asks."""


class EventCorrections:
    """Commands on stored events. Each raises NotFound, Invalid, Conflict, ClickHouseError; repeats change nothing."""

    def __init__(self, database: Database, clickhouse: ClickHouse) -> None:
        self._database = database
        self._clickhouse = clickhouse

    async def void(self, correction: Correction) -> EventCorrectionRow:
        """The event does not count any more. One that is void already is answered as it was voided."""
        return await self._correct(correction, None)

    async def amend(self, correction: Correction, amendment: Amendment) -> EventCorrectionRow:
        """The event counts as amended. Raises Conflict for a void one, Invalid where nothing would change."""
        return await self._correct(correction, amendment)

    async def find(self, scope: Scope, event_id: str, external_customer_id: str | None) -> EventRow:
        """The event as it counts now. Raises NotFound (also for a void one), Invalid where customers share it."""
        event = await self._find(scope, event_id, external_customer_id)
        if event is None:
            raise _unknown(event_id)
        return event

    async def _correct(self, correction: Correction, amendment: Amendment | None) -> EventCorrectionRow:
        scope, event_id = correction.scope, correction.event_id
        await apply_pending(self._database, self._clickhouse, scope, event_id=event_id)
        async with self._database.transaction(scope) as session:
            await lock_event(session, scope, event_id)
            event = await self._find(scope, event_id, correction.external_customer_id)
            last = await find_last_correction(
                session, scope, event_id, event.external_customer_id if event else correction.external_customer_id
            )
            if event is None:
                return _repeated_void(last, event_id, amendment)
            after = amendment.of(event) if amendment else None
            if after == event:
                return _repeated_amendment(last, event_id)
            row = await _write_down(session, correction, event, after)
        await apply_pending(self._database, self._clickhouse, scope, event_id=event_id)
        return row

    async def _find(self, scope: Scope, event_id: str, external_customer_id: str | None) -> EventRow | None:
        found = await find_event_rows(self._clickhouse, scope, event_id, external_customer_id)
        if len(found) > 1:
            raise Invalid(
                f"external_customer_id is required: several customers have an event with the id {event_id!r}",
                field="external_customer_id",
            )
        return found[0] if found else None


async def apply_pending(
    database: Database, clickhouse: ClickHouse, scope: Scope, *, event_id: str | None = None,
    external_customer_id: str | None = None,
) -> int:  # fmt: skip
    """Makes what was written down count, if it does not yet; returns how many corrections. Raises ClickHouseError.

    After it, usage read from ClickHouse knows every correction that was answered before.
    """
    async with database.transaction(scope) as session:
        return await _apply(clickhouse, await list_pending(session, event_id, external_customer_id))


async def apply_every_pending(database: Database, clickhouse: ClickHouse) -> int:
    """The same for all tenants."""
    async with database.system_transaction() as session:
        return await _apply(clickhouse, await list_pending(session))


async def _apply(clickhouse: ClickHouse, pending: Sequence[EventCorrectionRow]) -> int:
    for row in pending:
        after = EventRow(**row.after) if row.after else None
        at = milliseconds(row.corrected_at)
        await insert_revision(clickhouse, EventRow(**row.before), after, row.revision, at)
        row.applied_at = datetime.now(UTC)
    return len(pending)


async def _write_down(
    session: AsyncSession, correction: Correction, before: EventRow, after: EventRow | None
) -> EventCorrectionRow:
    scope, customer = correction.scope, before.external_customer_id
    row = EventCorrectionRow(
        id=new_id("correction"),
        **new_columns(scope),
        created_by=correction.by,
        updated_by=correction.by,
        external_customer_id=customer,
        event_id=correction.event_id,
        action=VOID if after is None else AMEND,
        revision=await next_revision(session, scope, correction.event_id, customer),
        corrected_at=await _now_of(session, scope, customer),
        reason=correction.reason,
        before=asdict(before),
        after=asdict(after) if after else {},
    )
    session.add(row)
    await session.flush()
    return row


async def _now_of(session: AsyncSession, scope: Scope, external_customer_id: str) -> datetime:
    """The customer's business time; the real one for a customer who is not known yet."""
    clocks = await frozen_times(session, scope, [external_customer_id])
    return clocks.get(external_customer_id) or datetime.now(UTC)


def _repeated_void(last: EventCorrectionRow | None, event_id: str, amendment: Amendment | None) -> EventCorrectionRow:
    if last is None or last.action != VOID:
        raise _unknown(event_id)
    if amendment is not None:
        raise Conflict(f"event {event_id!r} is void and cannot be amended; send a new event", state=VOID)
    return last


def _repeated_amendment(last: EventCorrectionRow | None, event_id: str) -> EventCorrectionRow:
    if last is None:
        raise Invalid(f"the amendment changes nothing: event {event_id!r} says so already", field="properties")
    return last


def _unknown(event_id: str) -> NotFound:
    return NotFound(
        f"no event has the id {event_id!r}; one that was accepted a moment ago may still be on its way",
        field="event_id",
    )
