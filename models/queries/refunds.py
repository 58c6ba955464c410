"""Reading and locking refunds and disputes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession as PlainSession
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page
from models.scope import Scope
from models.tables import DisputeRow, RefundRow


@dataclass(frozen=True, slots=True)
class RefundFilter:
    """Which refunds; what is None does not filter."""

    invoice_ids: Sequence[str] | None = None
    payment_ids: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    destinations: Sequence[str] | None = None
    gateway: str | None = None


async def get_refund(session: AsyncSession, refund_id: str, *, lock: bool = False) -> RefundRow:
    """The refund. Raises NotFound."""
    query = select(RefundRow).where(RefundRow.id == refund_id)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"no refund has the id {refund_id!r}", field="refund_id")
    return row


async def find_refund_by_key(session: AsyncSession, scope: Scope, idempotency_key: str) -> RefundRow | None:
    """The refund that was asked for under the key of its request's body."""
    return await find_one(session, scope, RefundRow, col(RefundRow.idempotency_key) == idempotency_key)


async def find_refund_told(
    session: AsyncSession, gateway: str, gateway_refund_id: str, refund_id: str | None
) -> RefundRow | None:
    """The refund that a provider reports on, locked: by our id, which further tries extend, or by the provider's."""
    ids = [] if refund_id is None else [refund_id, refund_id.rpartition("-")[0]]
    by_theirs = (col(RefundRow.payment_gateway) == gateway) & (col(RefundRow.gateway_refund_id) == gateway_refund_id)
    query = select(RefundRow).where(col(RefundRow.id).in_(ids) | by_theirs)
    return (await session.exec(query.with_for_update())).first()


async def list_refunds_of_payment(session: AsyncSession, payment_id: str) -> Sequence[RefundRow]:
    """Every refund of a payment, oldest first."""
    query = select(RefundRow).where(RefundRow.payment_id == payment_id)
    return (await session.exec(query.order_by(col(RefundRow.created_at), col(RefundRow.id)))).all()


async def list_refunds_of_invoice(session: AsyncSession, invoice_id: str) -> Sequence[RefundRow]:
    """Every refund of an invoice's payments, oldest first."""
    query = select(RefundRow).where(RefundRow.invoice_id == invoice_id)
    return (await session.exec(query.order_by(col(RefundRow.created_at), col(RefundRow.id)))).all()


async def list_disputes_of_invoice(session: AsyncSession, invoice_id: str) -> Sequence[DisputeRow]:
    """Every dispute of an invoice's payments."""
    query = select(DisputeRow).where(DisputeRow.invoice_id == invoice_id)
    return (await session.exec(query.order_by(col(DisputeRow.opened_at), col(DisputeRow.id)))).all()


async def list_refunds(
    session: PlainSession, scope: Scope, page: Page, wanted: RefundFilter
) -> tuple[list[RefundRow], int]:
    """One page of refunds and how many match in all."""
    many = (
        (RefundRow.invoice_id, wanted.invoice_ids),
        (RefundRow.payment_id, wanted.payment_ids),
        (RefundRow.refund_status, wanted.statuses),
        (RefundRow.refund_destination, wanted.destinations),
        (RefundRow.payment_gateway, None if wanted.gateway is None else [wanted.gateway]),
    )
    where = [col(column).in_(values) for column, values in many if values is not None]
    return await get_page(session, scope, RefundRow, page, where, {})


async def get_dispute(session: AsyncSession, dispute_id: str) -> DisputeRow:
    """The dispute. Raises NotFound."""
    row = (await session.exec(select(DisputeRow).where(DisputeRow.id == dispute_id))).one_or_none()
    if row is None:
        raise NotFound(f"no dispute has the id {dispute_id!r}", field="dispute_id")
    return row


async def find_dispute(session: AsyncSession, provider: str, gateway_dispute_id: str) -> DisputeRow | None:
    """The dispute that the provider names so."""
    query = select(DisputeRow).where(
        DisputeRow.payment_gateway == provider, DisputeRow.gateway_dispute_id == gateway_dispute_id
    )
    return (await session.exec(query)).one_or_none()


async def list_disputes(session: PlainSession, scope: Scope, page: Page) -> tuple[list[DisputeRow], int]:
    """One page of disputes and how many there are in all."""
    return await get_page(session, scope, DisputeRow, page, [], {"dispute_status": DisputeRow.dispute_status})
