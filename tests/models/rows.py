"""A valid row of any table, made from the metadata alone, so that a new table is covered on the day it is added."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.types import TypeDecorator
from sqlmodel import SQLModel

import models.tables  # noqa: F401  (fills the metadata)
from models.scope import Scope

TABLES: list[Table] = list(SQLModel.metadata.sorted_tables)
"""Every table, referenced ones first."""

_EXAMPLES: dict[type, Any] = {
    int: 1,
    bool: False,
    Decimal: Decimal(1),
    datetime: datetime(2025, 1, 1, tzinfo=UTC),
    object: {},  # JSON
}
# Where a CHECK asks for more than the type: one side of an entry, sums that add up, nothing released twice.
_PARTICULAR: dict[str, dict[str, Any]] = {
    "event_corrections": {"action": "void"},
    "deferred_revenue": {"released": Decimal(0), "reversed": Decimal(0)},
    "invoices": {"invoice_status": "DRAFT", "total_discount": Decimal(0), "exclusive_tax": Decimal(0),
                 "total_prepaid_credits_applied": Decimal(0), "adjustment_amount": Decimal(0)},
    "credit_notes": {"credit_note_status": "DRAFT", "credit_note_type": "ADJUSTMENT", "tax_amount": Decimal(0)},
    "ledger_entries": {"credit": Decimal(0)},
}  # fmt: skip


def new_row(table: Table, scope: Scope, **values: Any) -> dict[str, Any]:
    """A row of `table` that belongs to `scope`; columns that may be null are null unless given."""
    row = {column.name: _example(column) for column in table.columns}
    row |= {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
    row |= _PARTICULAR.get(table.name, {})
    return row | values


def new_rows(scope: Scope) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table that can be committed together: one each, two for the entries of a ledger transaction."""
    rows = {table.name: [new_row(table, scope)] for table in TABLES}
    entry = rows["ledger_entries"][0]
    entry["transaction_id"] = rows["ledger_transactions"][0]["id"]
    note, invoice = rows["credit_notes"][0], rows["invoices"][0]
    note |= {"invoice_id": invoice["id"], "customer_id": invoice["customer_id"]}
    rows["credit_note_lines"][0]["credit_note_id"] = note["id"]
    rows["wallet_transactions"][0]["lot_id"] = rows["wallet_lots"][0]["id"]
    rows["ledger_entries"].append({**entry, "position": 2, "debit": Decimal(0), "credit": entry["debit"]})
    return rows


def _example(column: Column[Any]) -> Any:
    if column.nullable:
        return None
    if column.name == "currency":
        return "usd"
    declared = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    kind = declared.python_type
    return f"{column.name}-{uuid.uuid4().hex}" if kind is str else _EXAMPLES[kind]
