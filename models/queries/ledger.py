"""Writing postings to the ledger, and reading deferred revenue."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.ledger import Entry, Posting, PostingKind
from models.ids import derived_id
from models.scope import Scope
from models.tables import DeferredRevenueRow, LedgerEntryRow, LedgerTransactionRow


async def insert_posting(
    session: AsyncSession,
    scope: Scope,
    posting: Posting,
    occurred_at: datetime,
    *,
    invoice_id: str | None = None,
    customer_id: str | None = None,
) -> None:
    """Writes a posting once: the same kind and reference again changes nothing. Without entries there is no fact."""
    if not posting.entries:
        return
    transaction_id = derived_id("ledger", scope.tenant_id, scope.environment_id, posting.kind, posting.reference)
    header = {
        "id": transaction_id,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "kind": posting.kind.value,
        "reference": posting.reference,
        "invoice_id": invoice_id,
        "customer_id": customer_id,
        "currency": posting.entries[0].currency,
        "occurred_at": occurred_at,
        "created_at": datetime.now(UTC),
    }
    written = await session.execute(
        insert(LedgerTransactionRow).values(header).on_conflict_do_nothing().returning(col(LedgerTransactionRow.id))
    )
    if written.first() is None:
        return
    entries = [
        {
            "transaction_id": transaction_id,
            "position": position,
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "account": entry.account,
            "debit": entry.debit,
            "credit": entry.credit,
            "currency": entry.currency,
        }
        for position, entry in enumerate(posting.entries)
    ]
    # One row a statement: a list in `values` is compiled anew each time, which takes longer than the rows do.
    await session.execute(insert(LedgerEntryRow), entries)


async def postings_of_invoice(session: AsyncSession, invoice_id: str, kinds: Sequence[PostingKind]) -> list[Posting]:
    """The postings of an invoice of the given kinds, oldest first."""
    query = (
        select(LedgerTransactionRow, LedgerEntryRow)
        .join(LedgerEntryRow, col(LedgerEntryRow.transaction_id) == col(LedgerTransactionRow.id))
        .where(LedgerTransactionRow.invoice_id == invoice_id, col(LedgerTransactionRow.kind).in_(kinds))
        .order_by(col(LedgerTransactionRow.created_at), col(LedgerEntryRow.position))
    )
    found: dict[str, tuple[PostingKind, str, list[Entry]]] = {}
    for header, entry in (await session.exec(query)).all():
        _, _, entries = found.setdefault(header.id, (PostingKind(header.kind), header.reference, []))
        entries.append(Entry(entry.account, entry.debit, entry.credit, entry.currency))
    return [Posting(kind, reference, tuple(entries)) for kind, reference, entries in found.values()]


async def list_releasable(
    session: AsyncSession,
    at: datetime,
    *,
    subscription_id: str | None = None,
    test_clock_id: str | None = None,
    most: int = 1000,
) -> Sequence[DeferredRevenueRow]:
    """Deferred revenue whose period has ended at `at`, locked; of one subscription, one test clock, or of real time."""
    query = select(DeferredRevenueRow).where(
        col(DeferredRevenueRow.release_at) <= at,
        col(DeferredRevenueRow.released) + col(DeferredRevenueRow.reversed) < col(DeferredRevenueRow.amount),
    )
    if subscription_id is not None:
        query = query.where(DeferredRevenueRow.subscription_id == subscription_id)
    else:
        query = query.where(col(DeferredRevenueRow.test_clock_id).is_not_distinct_from(test_clock_id))
    query = query.order_by(col(DeferredRevenueRow.release_at), col(DeferredRevenueRow.invoice_line_id)).limit(most)
    return (await session.exec(query.with_for_update(skip_locked=True))).all()


async def find_deferred(session: AsyncSession, invoice_line_id: str) -> DeferredRevenueRow | None:
    """What a line put into deferred revenue, locked; None when it put nothing there."""
    query = select(DeferredRevenueRow).where(DeferredRevenueRow.invoice_line_id == invoice_line_id)
    return (await session.exec(query.with_for_update())).one_or_none()
