"""Reading customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import CustomerRow, SubscriptionRow

LIVE_SUBSCRIPTION = ("active", "trialing", "paused", "incomplete", "draft", "past_due")


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """Which customers; what is None does not filter."""

    customer_ids: Sequence[str] | None = None
    external_ids: Sequence[str] | None = None
    email: str | None = None
    metadata: dict[str, str] | None = None


async def find_customer(
    session: AsyncSession, scope: Scope, customer_id: str, lock: bool = False
) -> CustomerRow | None:
    """The customer with this id, unless deleted."""
    return await find_one(session, scope, CustomerRow, col(CustomerRow.id) == customer_id, lock=lock)


async def get_customer(session: AsyncSession, scope: Scope, customer_id: str, lock: bool = False) -> CustomerRow:
    """The customer with this id. Raises NotFound."""
    row = await find_customer(session, scope, customer_id, lock)
    if row is None:
        raise NotFound(f"no customer has the id {customer_id!r}", field="customer_id")
    return row


async def find_customer_by_external_id(session: AsyncSession, scope: Scope, external_id: str) -> CustomerRow | None:
    """The customer that the tenant knows under `external_id`."""
    return await find_one(session, scope, CustomerRow, col(CustomerRow.external_id) == external_id)


async def get_customer_by_external_id(session: AsyncSession, scope: Scope, external_id: str) -> CustomerRow:
    """The customer that the tenant knows under `external_id`. Raises NotFound."""
    row = await find_customer_by_external_id(session, scope, external_id)
    if row is None:
        raise NotFound(f"no customer has the external_id {external_id!r}", field="external_customer_id")
    return row


async def list_customers(
    session: AsyncSession, scope: Scope, page: Page, wanted: CustomerFilter
) -> tuple[list[CustomerRow], int]:
    """One page of customers and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if wanted.customer_ids is not None:
        where.append(col(CustomerRow.id).in_(wanted.customer_ids))
    if wanted.external_ids is not None:
        where.append(col(CustomerRow.external_id).in_(wanted.external_ids))
    if wanted.email is not None:
        where.append(col(CustomerRow.email) == wanted.email)
    if wanted.metadata:
        metadata: Any = CustomerRow.customer_metadata
        where.append(metadata.op("@>", is_comparison=True)(wanted.metadata))
    return await get_page(session, scope, CustomerRow, page, where, _COLUMNS)


async def count_live_subscriptions(session: AsyncSession, scope: Scope, customer_id: str) -> int:
    """How many subscriptions of the customer have not ended."""
    clauses = [
        *own(SubscriptionRow, scope),
        col(SubscriptionRow.customer_id) == customer_id,
        col(SubscriptionRow.subscription_status).in_(LIVE_SUBSCRIPTION),
        col(SubscriptionRow.status) != "deleted",
    ]
    statement = select(func.count()).select_from(SubscriptionRow).where(*clauses)
    return (await session.execute(statement)).scalar_one()


_COLUMNS = {
    name: getattr(CustomerRow, name)
    for name in ("external_id", "name", "email", "timezone", "address_country", "address_city", "test_clock_id")
}
