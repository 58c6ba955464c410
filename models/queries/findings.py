"""Storing what passes over the books have found: one open row a finding, closed once it is met no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.ids import new_id
from models.scope import Scope
from models.tables import FindingRow, InvoiceRow


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about `reference` that does not add up; `sentence` says what, and what to do."""

    scope: Scope
    reference: str
    sentence: str
    repaired: bool = False


async def open_sentences(session: AsyncSession, name: str) -> dict[str, str]:
    """What the open findings of that name are about, and what each says."""
    query = select(FindingRow.reference, FindingRow.sentence).where(
        FindingRow.name == name, col(FindingRow.closed_at).is_(None)
    )
    return dict((await session.exec(query)).all())


async def oldest_open(session: AsyncSession, name: str) -> datetime | None:
    """When the oldest of the open findings of that name was first met."""
    query = select(func.min(FindingRow.first_seen_at)).where(
        FindingRow.name == name, col(FindingRow.closed_at).is_(None)
    )
    return (await session.exec(query)).one()


async def mark_invoices(session: AsyncSession, found: Sequence[Finding], before: Mapping[str, str]) -> None:
    """Says on each finding's invoice what it says, unless something else is said there; `before`: what it said."""
    for each in found:
        said = or_(
            col(InvoiceRow.needs_attention).is_(None), col(InvoiceRow.needs_attention) == before.get(each.reference, "")
        )
        statement = update(InvoiceRow).where(col(InvoiceRow.id) == each.reference, said)
        await session.execute(statement.values(needs_attention=each.sentence))


async def unmark_invoices(session: AsyncSession, gone: Mapping[str, str]) -> None:
    """Takes back what findings that are gone said on their invoices."""
    for invoice_id, sentence in gone.items():
        statement = update(InvoiceRow).where(
            col(InvoiceRow.id) == invoice_id, col(InvoiceRow.needs_attention) == sentence
        )
        await session.execute(statement.values(needs_attention=None))


async def keep_findings(session: AsyncSession, name: str, found: Sequence[Finding], now: datetime) -> None:
    """Opens what is new and says of what was open that it was met again at `now`, the real time of the pass."""
    if not found:
        return
    statement = insert(FindingRow).values([_columns(name, each, now) for each in found])
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["name", "reference", "tenant_id", "environment_id"],
        index_where=col(FindingRow.closed_at).is_(None),
        set_={
            "sentence": new.sentence,
            "repaired": or_(col(FindingRow.repaired), new.repaired),
            "times_seen": col(FindingRow.times_seen) + 1,
            "last_seen_at": func.greatest(FindingRow.last_seen_at, new.last_seen_at),
        },
    )
    await session.execute(statement)


async def close_findings(session: AsyncSession, name: str, now: datetime) -> dict[str, str]:
    """Closes what the pass at `now`, which has looked at everything, has not met; returns what and what it said."""
    statement = (
        update(FindingRow)
        .where(col(FindingRow.name) == name, col(FindingRow.closed_at).is_(None), col(FindingRow.last_seen_at) < now)
        .values(closed_at=now)
        .returning(col(FindingRow.reference), col(FindingRow.sentence))
    )
    return {reference: sentence for reference, sentence in (await session.execute(statement)).all()}


async def list_findings(session: AsyncSession, *, closed: bool, most: int) -> Sequence[FindingRow]:
    """The findings that are open, or (`closed`) those that were, latest first."""
    at = col(FindingRow.closed_at)
    query = select(FindingRow).where(at.is_not(None) if closed else at.is_(None))
    return (await session.exec(query.order_by(col(FindingRow.first_seen_at).desc()).limit(most))).all()


async def count_open(session: AsyncSession) -> dict[str, int]:
    """How many findings of each name are open."""
    query = select(FindingRow.name, func.count()).where(col(FindingRow.closed_at).is_(None)).group_by(FindingRow.name)
    return dict((await session.exec(query)).all())


def _columns(name: str, found: Finding, now: datetime) -> dict[str, object]:
    return {
        "id": new_id("finding"),
        "tenant_id": found.scope.tenant_id,
        "environment_id": found.scope.environment_id,
        "name": name,
        "reference": found.reference,
        "sentence": found.sentence,
        "repaired": found.repaired,
        "times_seen": 1,
        "first_seen_at": now,
        "last_seen_at": now,
    }
