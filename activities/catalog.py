"""Creating, changing and deleting meters, features and plans. Prices are `activities/prices`'s.

Each function works inside the caller's transaction in the tenant's scope and commits nothing. The rules (which
aggregation needs a field, how tiers lie) are those of `billing/`: a row is refused when its value cannot be built.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.bookkeeping import new_columns, scope_of
from activities.master_data_payloads import feature_payload
from activities.outbox import emit
from billing.errors import AlreadyExists, Invalid
from billing.meters import Filter, Meter, check_filters, parse_aggregation, parse_bucket_size, parse_reset_usage
from models.clickhouse.expression_sql import check_computable
from models.conversions import aggregation_json, meter_from_row
from models.ids import new_id
from models.queries.catalog import get_feature, get_meter, get_plan
from models.queries.paging import violated_index
from models.scope import Scope
from models.tables import FeatureRow, MeterRow, PlanRow

FEATURE_TYPES = ("metered", "boolean", "static", "config")


@dataclass(frozen=True, slots=True)
class MeterFilter:
    """Events count whose property `key`, as text, is one of `values`."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewMeter:
    """What a meter is created from; `aggregation` and `reset_usage` are the names of the wire."""

    name: str
    event_name: str
    aggregation: str
    field: str | None = None
    filters: tuple[MeterFilter, ...] = ()
    reset_usage: str = "BILLING_PERIOD"
    multiplier: Decimal | None = None
    bucket_size: str | None = None
    group_by: str | None = None
    expression: str | None = None


@dataclass(frozen=True, slots=True)
class NewFeature:
    """What a feature is created from; a metered one names a meter or brings a new one."""

    name: str
    type: str
    lookup_key: str = ""
    description: str = ""
    meter_id: str | None = None
    meter: NewMeter | None = None
    unit_singular: str = ""
    unit_plural: str = ""
    reporting_unit: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """New values; None leaves a field. `filters` changes the feature's meter."""

    name: str | None = None
    description: str | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    reporting_unit: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    filters: tuple[MeterFilter, ...] | None = None


@dataclass(frozen=True, slots=True)
class NewPlan:
    """What a plan is created from; its prices are created for it afterwards."""

    name: str
    lookup_key: str = ""
    description: str = ""
    display_order: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanChange:
    """New values; None leaves a field."""

    name: str | None = None
    lookup_key: str | None = None
    description: str | None = None
    display_order: int | None = None
    metadata: dict[str, str] | None = None


async def create_meter(session: AsyncSession, scope: Scope, new: NewMeter, actor: str = "", path: str = "") -> MeterRow:
    """Inserts a meter. Raises Invalid naming the field; `path` (such as `meter.`) goes before its name."""
    meter_id = new_id("meter")
    try:
        meter = Meter(
            id=meter_id,
            name=new.name,
            event_name=new.event_name.strip(),
            aggregation=parse_aggregation(new.aggregation),
            field=new.field or None,
            filters=_filters(new.filters),
            reset_usage=parse_reset_usage(new.reset_usage),
            multiplier=new.multiplier,
            bucket_size=parse_bucket_size(new.bucket_size) if new.bucket_size else None,
            group_by=new.group_by or None,
            expression=new.expression or None,
        )
        if meter.expression is not None:
            check_computable(meter.expression, meter.multiplier)
    except Invalid as error:
        raise Invalid(f"{path}{error.message}", f"{path}{error.field}", error.details) from error
    row = MeterRow(
        id=meter_id,
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        name=meter.name,
        event_name=meter.event_name,
        aggregation=aggregation_json(meter),
        filters=[{"key": entry.key, "values": list(entry.values)} for entry in meter.filters],
        reset_usage=meter.reset_usage.value,
    )
    session.add(row)
    await session.flush()
    return row


async def update_meter_filters(
    session: AsyncSession, scope: Scope, meter_id: str, filters: tuple[MeterFilter, ...], now: datetime, actor: str = ""
) -> MeterRow:
    """Replaces the filters: the only part of a meter that may change. Raises NotFound, Invalid."""
    row = await get_meter(session, scope, meter_id, lock=True)
    row.filters = [{"key": entry.key, "values": list(entry.values)} for entry in _filters(filters)]
    meter_from_row(row)
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    return row


async def end_meter(
    session: AsyncSession, scope: Scope, meter_id: str, status: str, now: datetime, actor: str = ""
) -> MeterRow:
    """Makes a meter `archived` or `deleted`: no new price may use it, running prices go on. Raises NotFound."""
    row = await get_meter(session, scope, meter_id, lock=True)
    row.status, row.updated_at, row.updated_by = status, now, actor
    await session.flush()
    return row


async def create_feature(session: AsyncSession, scope: Scope, new: NewFeature, actor: str = "") -> FeatureRow:
    """Inserts a feature, and its meter where it brings one. Raises Invalid, AlreadyExists for a taken lookup key."""
    _check_feature(new)
    meter_id = await _meter_of(session, scope, new, actor)
    row = FeatureRow(
        id=new_id("feat"),
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        name=new.name,
        lookup_key=new.lookup_key or derived_lookup_key(new.name),
        type=new.type,
        description=new.description,
        meter_id=meter_id,
        unit_singular=new.unit_singular,
        unit_plural=new.unit_plural,
        reporting_unit=new.reporting_unit,
        feature_metadata=new.metadata,
    )
    if not row.lookup_key:
        raise Invalid("lookup_key is required where the name holds no letter or digit", field="lookup_key")
    session.add(row)
    await _flush(session, "features_lookup_key", "feature", row.lookup_key)
    await _tell_feature(session, row, "feature.created", row.created_at)
    return row


async def update_feature(
    session: AsyncSession, scope: Scope, feature_id: str, change: FeatureChange, now: datetime, actor: str = ""
) -> FeatureRow:
    """Changes the given fields, and the filters of its meter. Raises NotFound, Invalid."""
    row = await get_feature(session, scope, feature_id, lock=True)
    if change.filters is not None:
        if row.meter_id is None:
            raise Invalid("filters must be left out: this feature has no meter", field="filters")
        await update_meter_filters(session, scope, row.meter_id, change.filters, now, actor)
    row.name = row.name if change.name is None else change.name
    row.description = row.description if change.description is None else change.description
    row.unit_singular = row.unit_singular if change.unit_singular is None else change.unit_singular
    row.unit_plural = row.unit_plural if change.unit_plural is None else change.unit_plural
    _check_units(row.unit_singular, row.unit_plural)
    row.reporting_unit = row.reporting_unit if change.reporting_unit is None else change.reporting_unit
    row.feature_metadata = row.feature_metadata if change.metadata is None else change.metadata
    row.updated_at, row.updated_by = now, actor
    await session.flush()
    await _tell_feature(session, row, "feature.updated", now)
    return row


async def delete_feature(session: AsyncSession, scope: Scope, feature_id: str, now: datetime, actor: str = "") -> None:
    """Marks the feature as deleted; its meter goes on measuring for the prices that use it. Raises NotFound."""
    row = await get_feature(session, scope, feature_id, lock=True)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()
    await _tell_feature(session, row, "feature.deleted", now)


async def _tell_feature(session: AsyncSession, row: FeatureRow, event: str, at: datetime) -> None:
    await emit(session, scope_of(row), event, row.id, {"feature": feature_payload(row)}, at)


async def create_plan(session: AsyncSession, scope: Scope, new: NewPlan, actor: str = "") -> PlanRow:
    """Inserts a plan. Raises AlreadyExists for a taken lookup key."""
    row = PlanRow(
        id=new_id("plan"),
        **new_columns(scope),
        created_by=actor,
        updated_by=actor,
        name=new.name,
        lookup_key=new.lookup_key,
        description=new.description,
        display_order=new.display_order,
        plan_metadata=new.metadata,
    )
    session.add(row)
    await _flush(session, "plans_lookup_key", "plan", new.lookup_key)
    return row


async def update_plan(
    session: AsyncSession, scope: Scope, plan_id: str, change: PlanChange, now: datetime, actor: str = ""
) -> PlanRow:
    """Changes the given fields. Raises NotFound, AlreadyExists."""
    row = await get_plan(session, scope, plan_id, lock=True)
    row.name = row.name if change.name is None else change.name
    row.lookup_key = row.lookup_key if change.lookup_key is None else change.lookup_key
    row.description = row.description if change.description is None else change.description
    row.display_order = row.display_order if change.display_order is None else change.display_order
    row.plan_metadata = row.plan_metadata if change.metadata is None else change.metadata
    row.updated_at, row.updated_by = now, actor
    await _flush(session, "plans_lookup_key", "plan", row.lookup_key)
    return row


async def delete_plan(session: AsyncSession, scope: Scope, plan_id: str, now: datetime, actor: str = "") -> None:
    """Marks the plan as deleted: nobody can subscribe to it any more, running subscriptions go on. Raises NotFound."""
    row = await get_plan(session, scope, plan_id, lock=True)
    row.status, row.updated_at, row.updated_by = "deleted", now, actor
    await session.flush()


def derived_lookup_key(name: str) -> str:
    """The key that a feature gets from its name: lower case, everything but letters and digits as `_`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _filters(filters: tuple[MeterFilter, ...]) -> tuple[Filter, ...]:
    made = tuple(Filter(entry.key, entry.values) for entry in filters)
    check_filters(made)
    return made


def _check_feature(new: NewFeature) -> None:
    if new.type not in FEATURE_TYPES:
        raise Invalid(f"type must be one of {', '.join(FEATURE_TYPES)}; got {new.type!r}", field="type")
    metered = new.type == "metered"
    given = [name for name in ("meter_id", "meter") if getattr(new, name)]
    if metered and len(given) != 1:
        raise Invalid("a metered feature needs exactly one of meter_id and meter", field="meter_id")
    if not metered and given:
        raise Invalid(f"{given[0]} must be left out for a {new.type} feature", field=given[0])
    _check_units(new.unit_singular, new.unit_plural)


def _check_units(singular: str, plural: str) -> None:
    if bool(singular) != bool(plural):
        missing = "unit_plural" if singular else "unit_singular"
        raise Invalid(f"{missing} is required where the other form of the unit is given", field=missing)


async def _meter_of(session: AsyncSession, scope: Scope, new: NewFeature, actor: str) -> str | None:
    if new.meter is not None:
        return (await create_meter(session, scope, new.meter, actor, "meter.")).id
    if new.meter_id is not None:
        return (await get_meter(session, scope, new.meter_id)).id
    return None


async def _flush(session: AsyncSession, index: str, what: str, lookup_key: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_index(error) == index:
            message = f"a {what} with the lookup_key {lookup_key!r} already exists"
            raise AlreadyExists(message, field="lookup_key") from error
        raise
