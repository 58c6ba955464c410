"""Reading and locking corrections of events."""

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from models.queries.paging import Page, get_page, own
from models.scope import Scope
from models.tables import EventCorrectionRow

Row = EventCorrectionRow
PENDING_MOST = 500
"""So many are applied in one transaction."""


async def lock_event(session: AsyncSession, scope: Scope, event_id: str) -> None:
    """Until the transaction ends nobody else corrects an event with this id."""
    key = "\n".join(("event", scope.tenant_id, scope.environment_id, event_id))
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


async def find_last_correction(
    session: AsyncSession, scope: Scope, event_id: str, external_customer_id: str | None
) -> EventCorrectionRow | None:
    """The newest correction of the event; of any customer's event with this id where none is named."""
    clauses = [*own(Row, scope), col(Row.event_id) == event_id, *_of_customer(external_customer_id)]
    statement = select(Row).where(*clauses).order_by(col(Row.created_at).desc(), col(Row.revision).desc()).limit(1)
    return (await session.execute(statement)).scalar_one_or_none()


async def list_pending(
    session: AsyncSession,
    event_id: str | None = None,
    external_customer_id: str | None = None,
    most: int = PENDING_MOST,
) -> list[EventCorrectionRow]:
    """Corrections that ClickHouse may not have yet, in their order, of what the transaction sees; locked."""
    clauses = [col(Row.applied_at).is_(None), *_of_customer(external_customer_id)]
    if event_id is not None:
        clauses.append(col(Row.event_id) == event_id)
    statement = select(Row).where(*clauses).order_by(col(Row.created_at), col(Row.revision)).limit(most)
    return list((await session.execute(statement.with_for_update())).scalars())


async def list_corrections(
    session: AsyncSession, scope: Scope, page: Page, event_id: str | None = None,
    external_customer_id: str | None = None,
) -> tuple[list[EventCorrectionRow], int]:  # fmt: skip
    """One page of corrections and how many match in all."""
    where = _of_customer(external_customer_id)
    if event_id is not None:
        where.append(col(Row.event_id) == event_id)
    columns = {name: getattr(Row, name) for name in ("event_id", "external_customer_id", "action", "revision")}
    return await get_page(session, scope, Row, page, where, columns)


async def next_revision(session: AsyncSession, scope: Scope, event_id: str, external_customer_id: str) -> int:
    """The number of the next correction of this event."""
    clauses = [*own(Row, scope), col(Row.event_id) == event_id, *_of_customer(external_customer_id)]
    found = (await session.execute(select(func.coalesce(func.max(Row.revision), 0)).where(*clauses))).scalar_one()
    return int(found) + 1


def _of_customer(external_customer_id: str | None) -> list[ColumnElement[bool]]:
    return [] if external_customer_id is None else [col(Row.external_customer_id) == external_customer_id]
