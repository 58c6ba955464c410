"""Storing what passes over the books have found: one open row a finding, closed once it is met no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.ids import new_id
from models.scope import Scope
from models.tables import FindingRow


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about `reference` that does not add up; `sentence` says what, and what to do."""

    scope: Scope
    reference: str
    sentence: str
    repaired: bool = False


async def open_references(session: AsyncSession, name: str) -> frozenset[str]:
    """What the open findings of that name are about."""
    query = select(FindingRow.reference).where(FindingRow.name == name, col(FindingRow.closed_at).is_(None))
    return frozenset((await session.exec(query)).all())


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


async def close_findings(session: AsyncSession, name: str, now: datetime) -> int:
    """Closes what the pass at `now`, which has looked at everything, has not met; returns how many."""
    statement = (
        update(FindingRow)
        .where(col(FindingRow.name) == name, col(FindingRow.closed_at).is_(None), col(FindingRow.last_seen_at) < now)
        .values(closed_at=now)
        .returning(col(FindingRow.id))
    )
    return len((await session.execute(statement)).all())


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
