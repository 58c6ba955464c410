"""Reading tax rates and what they are attached to."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from billing.errors import NotFound
from models.queries.paging import Page, find_one, get_page, own
from models.scope import Scope
from models.tables import TaxAssociationRow, TaxRateRow


async def get_tax_rate(session: AsyncSession, scope: Scope, tax_rate_id: str, lock: bool = False) -> TaxRateRow:
    """The tax rate with this id. Raises NotFound."""
    row = await find_one(session, scope, TaxRateRow, col(TaxRateRow.id) == tax_rate_id, lock=lock)
    if row is None:
        raise NotFound(f"no tax rate has the id {tax_rate_id!r}", field="tax_rate_id")
    return row


async def find_tax_rate_by_code(session: AsyncSession, scope: Scope, code: str) -> TaxRateRow | None:
    """The tax rate with this code."""
    return await find_one(session, scope, TaxRateRow, col(TaxRateRow.code) == code)


async def list_tax_rates(
    session: AsyncSession, scope: Scope, page: Page, tax_rate_ids: Sequence[str] | None = None,
    codes: Sequence[str] | None = None, rate_scope: str | None = None,
) -> tuple[list[TaxRateRow], int]:  # fmt: skip
    """One page of tax rates and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if tax_rate_ids is not None:
        where.append(col(TaxRateRow.id).in_(tax_rate_ids))
    if codes is not None:
        where.append(col(TaxRateRow.code).in_(codes))
    if rate_scope is not None:
        where.append(col(TaxRateRow.scope) == rate_scope)
    return await get_page(session, scope, TaxRateRow, page, where, {"code": TaxRateRow.code, "name": TaxRateRow.name})


async def find_tax_rates(session: AsyncSession, scope: Scope, ids: Sequence[str]) -> dict[str, TaxRateRow]:
    """Those of the tax rates that exist, deleted ones too, by id."""
    statement = select(TaxRateRow).where(*own(TaxRateRow, scope), col(TaxRateRow.id).in_(set(ids)))
    return {row.id: row for row in (await session.execute(statement)).scalars()}


async def get_tax_association(
    session: AsyncSession, scope: Scope, association_id: str, lock: bool = False
) -> TaxAssociationRow:
    """The association with this id. Raises NotFound."""
    row = await find_one(session, scope, TaxAssociationRow, col(TaxAssociationRow.id) == association_id, lock=lock)
    if row is None:
        raise NotFound(f"no tax association has the id {association_id!r}", field="id")
    return row


async def list_tax_associations(
    session: AsyncSession, scope: Scope, page: Page, entity_type: str | None = None, entity_id: str | None = None,
    tax_rate_id: str | None = None,
) -> tuple[list[TaxAssociationRow], int]:  # fmt: skip
    """One page of associations and how many match in all."""
    where: list[ColumnElement[bool]] = []
    if entity_type is not None:
        where.append(col(TaxAssociationRow.entity_type) == entity_type)
    if entity_id is not None:
        where.append(col(TaxAssociationRow.entity_id) == entity_id)
    if tax_rate_id is not None:
        where.append(col(TaxAssociationRow.tax_rate_id) == tax_rate_id)
    return await get_page(session, scope, TaxAssociationRow, page, where)
