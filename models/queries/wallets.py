"""Reading wallets, their lots and their transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, false, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import InvoiceRow, WalletLotRow, WalletRow, WalletTransactionRow


@dataclass(frozen=True, slots=True)
class WalletFilter:
    """Which wallets; what is None does not filter."""

    customer_ids: Sequence[str] | None = None
    wallet_ids: Sequence[str] | None = None
    status: str | None = None
    currency: str | None = None
    wallet_type: str | None = None


@dataclass(frozen=True, slots=True)
class TransactionFilter:
    """Which transactions; what is None does not filter. Instants are UTC."""

    wallet_ids: Sequence[str] | None = None
    type: str | None = None
    transaction_reason: str | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    expiry_after: datetime | None = None
    expiry_before: datetime | None = None
    credits_available_gt: Decimal | None = None
    priority: int | None = None
    none: bool = False
    """True: nothing can match."""

    def about_lots(self) -> bool:
        """Whether it asks for something that the lot knows and not the transaction."""
        asked = (self.expiry_after, self.expiry_before, self.credits_available_gt, self.priority)
        return any(value is not None for value in asked)


async def get_wallet(session: AsyncSession, scope: Scope, wallet_id: str, lock: bool = False) -> WalletRow:
    """The wallet with this id. Raises NotFound."""
    row = await find_one(session, scope, WalletRow, col(WalletRow.id) == wallet_id, lock=lock)
    if row is None:
        raise NotFound(f"no wallet has the id {wallet_id!r}", field="wallet_id")
    return row


async def find_active_wallet(
    session: AsyncSession, scope: Scope, customer_id: str, currency: str, wallet_type: str, lock: bool = False
) -> WalletRow | None:
    """The customer's one active wallet of a type in a currency."""
    where = (
        col(WalletRow.customer_id) == customer_id,
        col(WalletRow.currency) == currency,
        col(WalletRow.wallet_type) == wallet_type,
        col(WalletRow.wallet_status) == "active",
    )
    return await find_one(session, scope, WalletRow, *where, lock=lock)


async def list_lots_of_payment(session: AsyncSession, payment_id: str) -> Sequence[WalletLotRow]:
    """The lots that a payment made beyond its invoice, oldest first."""
    made = select(col(WalletTransactionRow.lot_id)).where(
        col(WalletTransactionRow.reference_type) == "PAYMENT",
        col(WalletTransactionRow.reference_id) == payment_id,
        col(WalletTransactionRow.type) == "credit",
    )
    query = select(WalletLotRow).where(col(WalletLotRow.id).in_(made))
    return (await session.scalars(query.order_by(col(WalletLotRow.created_at), col(WalletLotRow.id)))).all()


async def list_taken_for(session: AsyncSession, reference_id: str) -> Sequence[WalletTransactionRow]:
    """What was taken out of a wallet for a request, as a refund."""
    query = select(WalletTransactionRow).where(
        col(WalletTransactionRow.reference_type) == "REQUEST",
        col(WalletTransactionRow.reference_id) == reference_id,
        col(WalletTransactionRow.type) == "debit",
    )
    return (await session.scalars(query)).all()


async def list_wallets(
    session: AsyncSession, scope: Scope, page: Page, wanted: WalletFilter
) -> tuple[list[WalletRow], int]:
    """One page of wallets and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if wanted.customer_ids is not None:
        where.append(col(WalletRow.customer_id).in_(wanted.customer_ids))
    if wanted.wallet_ids is not None:
        where.append(col(WalletRow.id).in_(wanted.wallet_ids))
    for column, value in (
        (WalletRow.wallet_status, wanted.status),
        (WalletRow.currency, wanted.currency),
        (WalletRow.wallet_type, wanted.wallet_type),
    ):
        if value is not None:
            where.append(col(column) == value)
    return await get_page(session, scope, WalletRow, page, where, {"name": WalletRow.name})


async def list_lots(session: AsyncSession, wallet_ids: Sequence[str]) -> dict[str, list[WalletLotRow]]:
    """What is left of each wallet's lots, oldest first, by the wallet's id."""
    found: dict[str, list[WalletLotRow]] = {wallet_id: [] for wallet_id in wallet_ids}
    statement = select(WalletLotRow).where(col(WalletLotRow.wallet_id).in_(wallet_ids), col(WalletLotRow.remaining) > 0)
    for lot in (await session.scalars(statement.order_by(col(WalletLotRow.granted_at), col(WalletLotRow.id)))).all():
        found[lot.wallet_id].append(lot)
    return found


async def list_transactions(
    session: AsyncSession, scope: Scope, page: Page, wanted: TransactionFilter
) -> tuple[list[WalletTransactionRow], int]:
    """One page of transactions and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if wanted.wallet_ids is not None:
        where.append(col(WalletTransactionRow.wallet_id).in_(wanted.wallet_ids))
    for column, value in (
        (WalletTransactionRow.type, wanted.type),
        (WalletTransactionRow.transaction_reason, wanted.transaction_reason),
        (WalletTransactionRow.reference_type, wanted.reference_type),
        (WalletTransactionRow.reference_id, wanted.reference_id),
    ):
        if value is not None:
            where.append(col(column) == value)
    if wanted.none:
        where.append(false())
    if wanted.about_lots():
        where += [col(WalletTransactionRow.type) == "credit", _lot_matches(wanted)]
    columns = {"sequence": WalletTransactionRow.sequence}
    if not page.sort:
        page = Page(page.limit, page.offset, (("created_at", True), ("sequence", True)), page.status,
                    page.created_from, page.created_to, page.conditions)  # fmt: skip
    return await get_page(session, scope, WalletTransactionRow, page, where, columns)


async def find_transaction_by_key(
    session: AsyncSession, scope: Scope, wallet_id: str, key: str
) -> WalletTransactionRow | None:
    """The wallet's transaction that a caller has given this idempotency key."""
    where = (col(WalletTransactionRow.wallet_id) == wallet_id, col(WalletTransactionRow.idempotency_key) == key)
    return await find_one(session, scope, WalletTransactionRow, *where)


async def wallets_by_id(session: AsyncSession, scope: Scope, ids: Sequence[str]) -> dict[str, WalletRow]:
    """Wallets by their ids."""
    statement = select(WalletRow).where(*own(WalletRow, scope), col(WalletRow.id).in_(set(ids)))
    return {row.id: row for row in (await session.scalars(statement)).all()}


async def lots_of(session: AsyncSession, lot_ids: Sequence[str]) -> dict[str, WalletLotRow]:
    """Lots by their ids."""
    statement = select(WalletLotRow).where(col(WalletLotRow.id).in_(set(lot_ids)))
    return {lot.id: lot for lot in (await session.scalars(statement)).all()}


async def list_draft_period_ends(session: AsyncSession, scope: Scope, customer_id: str) -> list[datetime]:
    """Ends of the periods of the customer's drafts: lots on which these may still draw are not expired yet."""
    statement = select(col(InvoiceRow.period_end)).where(
        *own(InvoiceRow, scope), col(InvoiceRow.customer_id) == customer_id, col(InvoiceRow.invoice_status) == "DRAFT"
    )
    return list((await session.scalars(statement)).all())


async def list_wallets_with_expired_lots(
    session: AsyncSession, at: datetime, test_clock_id: str | None, after: str, most: int
) -> list[tuple[Scope, str]]:
    """Wallets of every tenant with credits left that expired at or before `at`, by id, from behind `after`.

    Those of one test clock, or (None) of customers who live by real time.
    """
    statement = (
        select(col(WalletRow.tenant_id), col(WalletRow.environment_id), col(WalletRow.id))
        .join(WalletLotRow, col(WalletLotRow.wallet_id) == col(WalletRow.id))
        .where(col(WalletLotRow.remaining) > 0, col(WalletLotRow.expires_at) <= at, col(WalletRow.id) > after)
        .where(col(WalletRow.test_clock_id).is_not_distinct_from(test_clock_id))
        .distinct()
        .order_by(col(WalletRow.id))
        .limit(most)
    )
    return [(Scope(tenant, environment), wallet) for tenant, environment, wallet in await session.execute(statement)]


def _lot_matches(wanted: TransactionFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.expiry_after is not None:
        conditions.append(col(WalletLotRow.expires_at) >= wanted.expiry_after)
    if wanted.expiry_before is not None:
        conditions.append(col(WalletLotRow.expires_at) <= wanted.expiry_before)
    if wanted.credits_available_gt is not None:
        conditions.append(col(WalletLotRow.remaining) > wanted.credits_available_gt)
    if wanted.priority is not None:
        conditions.append(col(WalletLotRow.priority) == wanted.priority)
    return col(WalletTransactionRow.lot_id).in_(select(col(WalletLotRow.id)).where(*conditions))
