"""Reading and locking payments, their attempts and what providers told us."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.errors import NotFound
from models.tables import PaymentAttemptRow, PaymentRow, ProviderEventRow


async def get_payment(session: AsyncSession, payment_id: str, *, lock: bool = False) -> PaymentRow:
    """The payment. Raises NotFound."""
    query = select(PaymentRow).where(PaymentRow.id == payment_id)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"no payment has the id {payment_id!r}", field="payment_id")
    return row


async def find_attempt(session: AsyncSession, attempt_id: str) -> PaymentAttemptRow | None:
    """The attempt, or None."""
    return (await session.exec(select(PaymentAttemptRow).where(PaymentAttemptRow.id == attempt_id))).one_or_none()


async def find_attempt_by_charge(
    session: AsyncSession, provider: str, gateway_attempt_id: str
) -> PaymentAttemptRow | None:
    """The attempt whose charge the provider names so."""
    query = select(PaymentAttemptRow).where(
        PaymentAttemptRow.payment_gateway == provider, PaymentAttemptRow.gateway_attempt_id == gateway_attempt_id
    )
    return (await session.exec(query.order_by(col(PaymentAttemptRow.created_at)))).first()


async def list_attempts_of_payment(session: AsyncSession, payment_id: str) -> Sequence[PaymentAttemptRow]:
    """The tries of one payment, first to last."""
    query = select(PaymentAttemptRow).where(PaymentAttemptRow.payment_id == payment_id)
    return (await session.exec(query.order_by(col(PaymentAttemptRow.attempt_number)))).all()


async def list_attempts_of_invoice(session: AsyncSession, invoice_id: str) -> Sequence[PaymentAttemptRow]:
    """Every try to collect an invoice, first to last."""
    query = select(PaymentAttemptRow).where(PaymentAttemptRow.invoice_id == invoice_id)
    return (await session.exec(query.order_by(col(PaymentAttemptRow.attempt_number)))).all()


async def find_provider_payment(session: AsyncSession, invoice_id: str) -> PaymentRow | None:
    """The payment by which a provider collects the invoice: one row, however many attempts."""
    query = select(PaymentRow).where(
        PaymentRow.destination_id == invoice_id, col(PaymentRow.payment_gateway).is_not(None)
    )
    return (await session.exec(query.order_by(col(PaymentRow.created_at)))).first()


async def paid_by_credits(session: AsyncSession, invoice_id: str) -> Decimal:
    """What a POST_PAID wallet has paid of an invoice, in major units."""
    query = select(func.coalesce(func.sum(PaymentRow.amount), 0)).where(
        PaymentRow.destination_id == invoice_id, PaymentRow.payment_method_type == "CREDITS"
    )
    return Decimal((await session.exec(query)).one())


async def list_unapplied_events(session: AsyncSession, invoice_id: str) -> Sequence[ProviderEventRow]:
    """What providers told us about the invoice's attempts and nobody has acted on yet, in order of arrival."""
    query = (
        select(ProviderEventRow)
        .join(PaymentAttemptRow, col(PaymentAttemptRow.id) == col(ProviderEventRow.attempt_id))
        .where(PaymentAttemptRow.invoice_id == invoice_id, col(ProviderEventRow.applied_at).is_(None))
        .order_by(col(ProviderEventRow.received_at), col(ProviderEventRow.id))
    )
    return (await session.exec(query)).all()
