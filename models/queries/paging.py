"""Lists: one page of rows with the total, the reference's generic filters and sorting. Owns no table.

Columns are named as on the wire; a field that is not offered raises Invalid, so nothing is filtered by accident.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeDecorator

from billing.errors import Invalid
from models.scope import Scope
from models.tables.base import Entity

Row = TypeVar("Row", bound=Entity)
Columns = Mapping[str, Any]

LIMIT_DEFAULT = 50
LIMIT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """One generic filter: `field operator value`, with the value still as the client sent it."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted, and in which order. `created_from` and `created_to` bound `created_at`."""

    limit: int = LIMIT_DEFAULT
    offset: int = 0
    sort: tuple[tuple[str, bool], ...] = ()
    """Pairs of wire name and whether descending; newest first where empty."""
    status: str | None = None
    """Row status; None means everything but `deleted`."""
    created_from: datetime | None = None
    created_to: datetime | None = None
    conditions: tuple[Condition, ...] = field(default=())


async def get_page(
    session: AsyncSession, scope: Scope, table: type[Row], page: Page, where: Sequence[ColumnElement[bool]] = (),
    columns: Columns | None = None,
) -> tuple[list[Row], int]:  # fmt: skip
    """One page of `table` in `scope`, and how many rows match in all."""
    offered: Columns = {**_common_columns(table), **(columns or {})}
    clauses = [*own(table, scope), *where, *_page_clauses(table, page, offered)]
    total = (await session.execute(select(func.count()).select_from(table).where(*clauses))).scalar_one()
    statement = select(table).where(*clauses).order_by(*_order(table, page, offered))
    rows: Sequence[Row] = (await session.scalars(statement.limit(page.limit).offset(page.offset))).all()
    return list(rows), total


def own(table: type[Entity], scope: Scope) -> list[ColumnElement[bool]]:
    """The filter that every query carries, beside row-level security."""
    columns: Any = table
    return [columns.tenant_id == scope.tenant_id, columns.environment_id == scope.environment_id]


async def find_one(
    session: AsyncSession, scope: Scope, table: type[Row], *where: ColumnElement[bool], lock: bool = False
) -> Row | None:
    """The newest row of `scope` that is not deleted and matches, locked for update where asked."""
    columns: Any = table
    clauses = [*own(table, scope), columns.status != "deleted", *where]
    statement = select(table).where(*clauses).order_by(columns.created_at.desc(), columns.id.desc()).limit(1)
    if lock:
        statement = statement.with_for_update()
    return (await session.execute(statement)).scalar_one_or_none()


def violated_index(error: IntegrityError) -> str:
    """Name of the unique index or constraint that a write ran into; empty when the driver does not say."""
    cause = getattr(error.orig, "__cause__", None)
    return str(getattr(cause, "constraint_name", None) or "")


def _common_columns(table: Any) -> Columns:
    names = ("id", "status", "created_at", "updated_at", "created_by", "updated_by")
    return {name: getattr(table, name) for name in names}


def _page_clauses(table: Any, page: Page, offered: Columns) -> list[ColumnElement[bool]]:
    clauses: list[ColumnElement[bool]] = []
    clauses.append(table.status == page.status if page.status else table.status != "deleted")
    if page.created_from is not None:
        clauses.append(table.created_at >= page.created_from)
    if page.created_to is not None:
        clauses.append(table.created_at <= page.created_to)
    for index, condition in enumerate(page.conditions):
        clauses.append(_clause(offered, condition, f"filters[{index}]"))
    return clauses


def _order(table: Any, page: Page, offered: Columns) -> list[Any]:
    order = []
    for index, (name, descending) in enumerate(page.sort):
        column = _column(offered, name, f"sort[{index}].field")
        order.append(column.desc() if descending else column.asc())
    return [*(order or [table.created_at.desc()]), table.id.desc()]


def _column(offered: Columns, name: str, path: str) -> Any:
    if name not in offered:
        raise Invalid(f"{path} must be one of {', '.join(sorted(offered))}; got {name!r}", field=path)
    return offered[name]


_OPERATORS: Mapping[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "contains": lambda column, value: column.icontains(value, autoescape=True),
    "not_contains": lambda column, value: ~column.icontains(value, autoescape=True),
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "in": lambda column, value: column.in_(value),
    "not_in": lambda column, value: column.not_in(value),
    "before": lambda column, value: column < value,
    "after": lambda column, value: column > value,
}


def _clause(offered: Columns, condition: Condition, path: str) -> ColumnElement[bool]:
    column = _column(offered, condition.field, f"{path}.field")
    if condition.operator not in _OPERATORS:
        known = ", ".join(_OPERATORS)
        raise Invalid(f"{path}.operator must be one of {known}; got {condition.operator!r}", field=f"{path}.operator")
    if condition.operator in ("contains", "not_contains") and _python_type(column) is not str:
        raise Invalid(f"{path}.operator {condition.operator} needs a text field", field=f"{path}.operator")
    many = condition.operator in ("in", "not_in")
    if many != isinstance(condition.value, list):
        shape = "a list" if many else "a single value"
        raise Invalid(f"{path}.value must be {shape} for {condition.operator}", field=f"{path}.value")
    values = condition.value if many else [condition.value]
    read = [_value(column, value, f"{path}.value") for value in values]
    return _OPERATORS[condition.operator](column, read if many else read[0])


def _value(column: Any, value: Any, path: str) -> Any:
    """The client's value as the column's own type."""
    wanted = _python_type(column)
    try:
        if wanted is datetime:
            return _instant(str(value))
        if wanted is Decimal:
            return Decimal(str(value))
        if wanted is bool and isinstance(value, bool):
            return value
        if wanted in (str, int) and not isinstance(value, bool | list | dict):
            return wanted(value)
    except (ValueError, ArithmeticError):
        pass
    raise Invalid(f"{path} {value!r} does not fit the field, which holds {wanted.__name__}", field=path)


def _python_type(column: Any) -> type[Any]:
    """What the column's values are in Python, also behind our own column types."""
    kind = column.type
    python_type: type[Any] = (kind.impl_instance if isinstance(kind, TypeDecorator) else kind).python_type
    return python_type


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("no offset")
    return instant.astimezone(UTC)
