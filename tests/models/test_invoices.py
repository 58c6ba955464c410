"""Invoices as the database keeps them: one live a period, numbers without gaps, nothing changed once finalized."""

import asyncio
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Executable, Table, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import col, select

from activities.drafting import inputs_from_row
from activities.invoices import finalize_invoice
from models.database import Database, Scope
from models.queries.invoices import get_invoice, take_number
from models.tables import InvoiceRow, InvoiceSequenceRow
from tests.models.books import NO_USAGE, START, Books
from tests.models.rows import TABLES, new_row

BY_NAME = {table.name: table for table in TABLES}
INVOICES = BY_NAME["invoices"]
PARTS = ("invoice_lines", "invoice_taxes", "usage_snapshots")
ELSE = {str: "changed", int: 77, bool: True, Decimal: Decimal(7), datetime: datetime(2031, 1, 1, tzinfo=UTC)}
FEBRUARY = datetime(2025, 2, 1, tzinfo=UTC)

# What collecting, documenting and voiding write on an invoice that is finalized; everything else never changes.
MAY_CHANGE = {
    "invoices": {
        *("status", "updated_at", "updated_by", "version", "payment_status", "uncollectible", "paid_at", "voided_at"),
        *("next_action_at", "amount_paid", "refunded_amount", "document_key", "document_sha256"),
        *("receipt_key", "needs_attention", "seen_commands", "invoice_metadata"),
    },
    "invoice_lines": {"updated_at", "updated_by", "credited_amount", "line_metadata"},
    "invoice_taxes": {"updated_at", "updated_by"},
    "usage_snapshots": {"updated_at", "updated_by"},
}


async def _insert(database: Database, scope: Scope, **values: Any) -> str:
    row = new_row(INVOICES, scope, **{"subscription_id": "subs_1", "billing_reason": "SUBSCRIPTION_CYCLE"} | values)
    async with database.transaction(scope) as session:
        await session.execute(insert(INVOICES).values(row))
    return str(row["id"])


@pytest.mark.parametrize("status", ["DRAFT", "FINALIZED", "SKIPPED"])
async def test_a_period_has_one_live_invoice(database: Database, scope: Scope, status: str) -> None:
    subscription = f"subs_of_{scope.tenant_id}"
    values = {"subscription_id": subscription, "invoice_status": status, "invoice_number": "INV-1"}
    first = await _insert(database, scope, **values)
    with pytest.raises(IntegrityError, match="invoices_one_live_per_period"):
        await _insert(database, scope, subscription_id=subscription)
    await _insert(database, scope, subscription_id=subscription, billing_reason="SUBSCRIPTION_CREATE")
    await _insert(database, scope, subscription_id=subscription, period_end=FEBRUARY)
    await _insert(database, scope, subscription_id=f"another_{subscription}")

    async with database.transaction(scope) as session:
        await session.execute(text("UPDATE invoices SET invoice_status = 'VOIDED' WHERE id = :id"), {"id": first})
    await _insert(database, scope, subscription_id=subscription)
    with pytest.raises(IntegrityError, match="invoices_one_live_per_period"):
        await _insert(database, scope, subscription_id=subscription)


async def test_a_finalized_invoice_has_a_number_that_no_other_has(database: Database, scope: Scope) -> None:
    with pytest.raises(IntegrityError, match="finalized_has_number"):
        await _insert(database, scope, subscription_id=None, invoice_status="FINALIZED")
    values = {"subscription_id": None, "invoice_status": "FINALIZED", "invoice_number": "INV-202501-00001"}
    await _insert(database, scope, **values)
    with pytest.raises(IntegrityError, match="invoices_number"):
        await _insert(database, scope, **values)
    await _insert(database, replace(scope, environment_id="env_other"), **values)


async def test_numbers_have_no_gap_under_concurrent_finalizations_and_failures(migrated_dsn: str, scope: Scope) -> None:
    database = Database(migrated_dsn, pool_size=8)
    books = await Books(database, scope, "usd").open()
    await asyncio.gather(*(books.subscribe() for _ in range(50)))
    drafts = [row.id for row in await books.invoices("DRAFT")]
    failing = set(drafts[::3])

    async def finalize(invoice_id: str) -> None:
        async with database.transaction(scope) as session:
            row = await get_invoice(session, invoice_id, lock=True)
            await finalize_invoice(session, row, inputs_from_row(row), NO_USAGE, START)
            if invoice_id in failing:
                raise ConnectionError("the worker is killed before its commit")

    outcomes = await asyncio.gather(*(finalize(each) for each in drafts), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {type(None): 33, ConnectionError: 17}
    assert await _numbers(database, scope) == [f"INV-202501-{n:05}" for n in range(1, 34)]

    for invoice_id in failing:
        await books.finalize(invoice_id, START)
    assert await _numbers(database, scope) == [f"INV-202501-{n:05}" for n in range(1, 51)]
    assert (await books.balances())["accounts_receivable"] == 50 * Decimal("-10.01")
    await database.close()


async def _numbers(database: Database, scope: Scope) -> list[str | None]:
    query = select(InvoiceRow.invoice_number).where(col(InvoiceRow.invoice_number).is_not(None))
    async with database.transaction(scope) as session:
        return sorted(await session.exec(query), key=str)


async def test_numbers_restart_with_the_month_in_each_environment(database: Database, scope: Scope) -> None:
    other = replace(scope, environment_id="env_other")
    stranger = replace(scope, tenant_id=f"another_{scope.tenant_id}")
    taken = []
    for owner, month in [
        *((scope, "202501"), (scope, "202501"), (scope, "202502"), (scope, "202501")),
        *((other, "202501"), (stranger, "202501"), (scope, "202502")),
    ]:
        async with database.transaction(owner) as session:
            taken.append(await take_number(session, owner, month))
    assert taken == [1, 2, 1, 3, 1, 1, 2]
    async with database.transaction(scope) as session:
        rows = (await session.exec(select(InvoiceSequenceRow))).all()
    assert {row.month: row.value for row in rows} == {"202501": 3, "202502": 2}


async def test_the_month_of_a_number_is_the_month_of_finalizing(database: Database, scope: Scope) -> None:
    books = await Books(database, scope, "usd").open()
    for _ in range(3):
        await books.subscribe()
    late, january, february = [row.id for row in await books.invoices("DRAFT")]
    assert (await books.finalize(january, START)).invoice_number == "INV-202501-00001"
    assert (await books.finalize(february, FEBRUARY)).invoice_number == "INV-202502-00001"
    assert (await books.finalize(late, FEBRUARY)).invoice_number == "INV-202502-00002"


@pytest.fixture(params=["FINALIZED", "VOIDED"])
async def frozen(database: Database, scope: Scope, request: pytest.FixtureRequest) -> dict[str, str]:
    """A finalized (or later voided) invoice with a line, a tax and a snapshot: the id of each, by table."""
    invoice = new_row(INVOICES, scope, subscription_id=None)
    parts = {name: new_row(BY_NAME[name], scope, invoice_id=invoice["id"]) for name in PARTS}
    async with database.transaction(scope) as session:
        await session.execute(insert(INVOICES).values(invoice))
        for name, part in parts.items():
            await session.execute(insert(BY_NAME[name]).values(part))
        for status in dict.fromkeys(("FINALIZED", request.param)):
            query = text("UPDATE invoices SET invoice_status = :status, invoice_number = 'INV-1' WHERE id = :id")
            await session.execute(query, {"status": status, "id": invoice["id"]})
    return {"invoices": invoice["id"]} | {name: part["id"] for name, part in parts.items()}


def _by_type(table: Table, column: str) -> Any:
    kind = getattr(table.c[column].type, "impl_instance", table.c[column].type).python_type
    return ELSE.get(kind, {"changed": True})


@pytest.mark.parametrize("table", ["invoices", *PARTS])
async def test_only_what_may_change_of_a_finalized_invoice_changes(
    database: Database, scope: Scope, frozen: dict[str, str], table: str
) -> None:
    owner, changed = BY_NAME[table], set()
    for column in owner.columns:
        if column.name in {"tenant_id", "environment_id"}:
            continue  # row-level security keeps these, and the next test
        statement = (
            owner.update().where(owner.c.id == frozen[table]).values({column.name: _by_type(owner, column.name)})
        )
        refusal = await _refusal(database, scope, statement)
        if refusal is None:
            changed.add(column.name)
        else:
            assert re.search("never (changes|becomes)|adjusted_within_due|its credit notes come to", refusal), refusal
    assert changed == MAY_CHANGE[table]


async def _refusal(database: Database, scope: Scope, statement: Executable) -> str | None:
    try:
        async with database.transaction(scope) as session:
            await session.execute(statement)
    except DBAPIError as error:
        return str(error)
    return None


@pytest.mark.parametrize("table", ["invoices", *PARTS])
async def test_a_finalized_invoice_is_not_moved_or_deleted_by_anybody(
    database: Database, frozen: dict[str, str], table: str
) -> None:
    for statement in (f"UPDATE {table} SET tenant_id = 'other' WHERE id = :id", f"DELETE FROM {table} WHERE id = :id"):
        with pytest.raises(DBAPIError, match="never"):
            async with database.system_transaction() as session:
                await session.execute(text(statement), {"id": frozen[table]})


@pytest.mark.parametrize("table", PARTS)
async def test_nothing_is_added_to_a_finalized_invoice(
    database: Database, scope: Scope, frozen: dict[str, str], table: str
) -> None:
    owner = BY_NAME[table]
    late = new_row(owner, scope, invoice_id=frozen["invoices"], **({"position": 9} if "position" in owner.c else {}))
    with pytest.raises(DBAPIError, match=f"INSERT of row {late['id']} in {table} is refused"):
        async with database.transaction(scope) as session:
            await session.execute(owner.insert().values(late))
    draft = await _insert(database, scope, subscription_id=None)
    async with database.transaction(scope) as session:
        await session.execute(owner.insert().values(late | {"invoice_id": draft}))
    with pytest.raises(DBAPIError, match=f"UPDATE of row {late['id']} in {table} is refused"):
        async with database.transaction(scope) as session:
            await session.execute(owner.update().where(owner.c.id == late["id"]).values(invoice_id=frozen["invoices"]))


async def test_a_finalized_invoice_is_voided_at_most(database: Database, scope: Scope, frozen: dict[str, str]) -> None:
    async with database.transaction(scope) as session:
        before = (await get_invoice(session, frozen["invoices"])).invoice_status
    for status in {"DRAFT", "SKIPPED", "FINALIZED"} - {before}:
        with pytest.raises(DBAPIError, match=f"is {before} and never becomes {status}"):
            async with database.transaction(scope) as session:
                await session.execute(INVOICES.update().values(invoice_status=status))
