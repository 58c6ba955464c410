"""Creating, changing and deleting tax rates, and attaching them to customers and subscriptions.

Each function works inside the caller's transaction in the tenant's scope and commits nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from billing.errors import AlreadyExists, Invalid
from billing.money import exponent
from billing.taxes import TaxRateType
from models.conversions import tax_rate_from_row
from models.ids import new_id
from models.queries.paging import violated_index
from models.queries.tax_rates import find_tax_rate_by_code, get_tax_association, get_tax_rate
from models.scope import Scope
from models.tables import TaxAssociationRow, TaxRateRow


@dataclass(frozen=True, slots=True)
class NewTaxRate:
    """A rate: `percentage_value` per cent, or `fixed_value` in major units of `currency`."""

    code: str
    name: str
    tax_rate_type: str = "percentage"
    percentage_value: Decimal | None = None
    fixed_value: Decimal | None = None
    inclusive: bool = False
    currency: str | None = None
    scope: str = "EXTERNAL"
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaxRateChange:
    """New values; None leaves a field. What a rate takes never changes: create another rate and attach that."""

    code: str | None = None
    name: str | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class NewTaxAssociation:
    """Attaches `rate` to an entity; `currency` None means every currency."""

    rate: TaxRateRow
    entity_type: str
    entity_id: str
    currency: str | None = None
    priority: int = 0
    auto_apply: bool = True
    metadata: dict[str, str] = field(default_factory=dict)
    start_date: datetime | None = None


async def create_tax_rate(
    session: AsyncSession, scope: Scope, new: NewTaxRate, now: datetime, actor: str = ""
) -> TaxRateRow:
    """Inserts a tax rate. Raises AlreadyExists for a taken code, Invalid naming the field."""
    kind = _checked_type(new)
    row = TaxRateRow(
        id=new_id("taxrate"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        created_by=actor,
        updated_by=actor,
        code=new.code,
        name=new.name,
        description=new.description,
        tax_rate_type=kind.value,
        percentage_value=new.percentage_value if kind is TaxRateType.percentage else None,
        fixed_value=new.fixed_value if kind is TaxRateType.fixed else None,
        inclusive=new.inclusive,
        scope=new.scope,
        currency=new.currency,
        rate_metadata=new.metadata,
    )
    tax_rate_from_row(row)  # the rule itself: refuses what cannot be a tax rate
    if await find_tax_rate_by_code(session, scope, new.code):
        raise _taken(new.code)
    session.add(row)
    await _flush(session, new.code)
    return row


async def update_tax_rate(
    session: AsyncSession, scope: Scope, tax_rate_id: str, change: TaxRateChange, now: datetime, actor: str = ""
) -> TaxRateRow:
    """Changes names and whether the rate is active. Raises NotFound, AlreadyExists."""
    row = await get_tax_rate(session, scope, tax_rate_id, lock=True)
    row.code = change.code or row.code
    row.name = change.name or row.name
    if change.description is not None:
        row.description = change.description
    if change.metadata is not None:
        row.rate_metadata = change.metadata
    if change.active is not None:
        row.status = "published" if change.active else "archived"
    row.updated_at, row.updated_by = now, actor
    await _flush(session, row.code)
    return row


async def delete_tax_rate(
    session: AsyncSession, scope: Scope, tax_rate_id: str, now: datetime, actor: str = ""
) -> None:
    """Marks the rate as deleted: no later invoice uses it. Raises NotFound."""
    row = await get_tax_rate(session, scope, tax_rate_id, lock=True)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()


async def attach_tax_rate(
    session: AsyncSession, scope: Scope, new: NewTaxAssociation, now: datetime, actor: str = ""
) -> TaxAssociationRow:
    """Inserts the association. Raises AlreadyExists when the entity has this rate already."""
    if new.currency is not None:
        exponent(new.currency)
    row = TaxAssociationRow(
        id=new_id("ta"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
        created_at=now,
        updated_at=now,
        created_by=actor,
        updated_by=actor,
        tax_rate_id=new.rate.id,
        entity_type=new.entity_type,
        entity_id=new.entity_id,
        priority=new.priority,
        auto_apply=new.auto_apply,
        currency=new.currency,
        association_metadata=new.metadata,
        start_date=new.start_date,
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "tax_associations_entity":
            raise AlreadyExists(
                f"{new.entity_type} {new.entity_id} already has the tax rate {new.rate.code!r}", field="tax_rate_code"
            ) from error
        raise
    return row


@dataclass(frozen=True, slots=True)
class TaxAssociationChange:
    """New values; None leaves a field."""

    priority: int | None = None
    auto_apply: bool | None = None
    metadata: dict[str, str] | None = None


async def update_tax_association(
    session: AsyncSession, scope: Scope, association_id: str, change: TaxAssociationChange, now: datetime,
    actor: str = "",
) -> TaxAssociationRow:  # fmt: skip
    """Changes priority, auto_apply or metadata. Raises NotFound."""
    row = await get_tax_association(session, scope, association_id, lock=True)
    row.priority = row.priority if change.priority is None else change.priority
    row.auto_apply = row.auto_apply if change.auto_apply is None else change.auto_apply
    if change.metadata is not None:
        row.association_metadata = dict(change.metadata)
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    return row


async def delete_tax_association(
    session: AsyncSession, scope: Scope, association_id: str, now: datetime, actor: str = ""
) -> TaxAssociationRow:
    """Marks the association as deleted: the rate no longer applies there. Raises NotFound."""
    row = await get_tax_association(session, scope, association_id, lock=True)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()
    return row


def check_behavior(rate: TaxRateRow, behavior: str | None, field_name: str) -> None:
    """Whether a rate is inclusive is the rate's own property; raises Invalid where a request says otherwise."""
    own = "inclusive" if rate.inclusive else "exclusive"
    if behavior is not None and behavior != own:
        raise Invalid(
            f"{field_name} must be {own}, as the tax rate {rate.code!r} is; create another rate for {behavior}",
            field=field_name,
        )


def _checked_type(new: NewTaxRate) -> TaxRateType:
    try:
        kind = TaxRateType(new.tax_rate_type)
    except ValueError:
        raise Invalid(
            f"tax_rate_type must be percentage or fixed; got {new.tax_rate_type!r}", field="tax_rate_type"
        ) from None
    wanted, other = ("percentage_value", "fixed_value")[:: 1 if kind is TaxRateType.percentage else -1]
    if getattr(new, wanted) is None:
        raise Invalid(f"{wanted} is required for a {kind} tax rate", field=wanted)
    if getattr(new, other) is not None:
        raise Invalid(f"{other} must be left out for a {kind} tax rate", field=other)
    if kind is TaxRateType.fixed and new.currency is None:
        raise Invalid("currency is required for a fixed tax rate", field="currency")
    if new.currency is not None:
        exponent(new.currency)
    return kind


async def _flush(session: AsyncSession, code: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == "tax_rates_code":
            raise _taken(code) from error
        raise


def _taken(code: str) -> AlreadyExists:
    return AlreadyExists(f"a tax rate with the code {code!r} already exists", field="code")
