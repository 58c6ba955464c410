"""The ledger's own laws, kept by the database: balanced, append-only, posted once, exact to the currency's unit."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Table, insert, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from billing.ledger import post_payment
from models.database import Database, Scope
from models.queries.ledger import insert_posting
from models.tables import LedgerEntryRow, LedgerTransactionRow
from models.tables.base import Amount
from tests.models.rows import TABLES, new_row

NOW = datetime(2025, 1, 31, tzinfo=UTC)
TRANSACTIONS = next(table for table in TABLES if table.name == "ledger_transactions")
ENTRIES = next(table for table in TABLES if table.name == "ledger_entries")
AMOUNTS = [(table, column) for table in TABLES for column in table.columns if isinstance(column.type, Amount)]

Sides = list[tuple[str, str, str]]
"""(debit, credit, currency) of each entry."""


async def post(session: AsyncSession, scope: Scope, sides: Sides) -> str:
    """A transaction with these entries, whatever they add up to."""
    header = new_row(TRANSACTIONS, scope)
    await session.execute(insert(TRANSACTIONS).values(header))
    for position, (debit, credit, currency) in enumerate(sides):
        entry = new_row(
            ENTRIES, scope, transaction_id=header["id"], position=position,
            debit=Decimal(debit), credit=Decimal(credit), currency=currency,
        )  # fmt: skip
        await session.execute(insert(ENTRIES).values(entry))
    return str(header["id"])


async def test_a_balanced_transaction_is_kept(database: Database, scope: Scope) -> None:
    sides = [("118", "0", "usd"), ("0", "100", "usd"), ("0", "18", "usd"), ("5", "0", "jpy"), ("0", "5", "jpy")]
    async with database.transaction(scope) as session:
        await post(session, scope, sides)
    async with database.transaction(scope) as session:
        assert len((await session.exec(select(LedgerEntryRow))).all()) == len(sides)


@pytest.mark.parametrize(
    "sides",
    [
        [("100", "0", "usd"), ("0", "99.99", "usd")],
        [("100", "0", "usd")],
        [("0", "100", "usd")],
        [("100", "0", "usd"), ("0", "100", "eur")],
        [("100", "0", "usd"), ("0", "90", "usd"), ("90", "0", "eur"), ("0", "100", "eur")],
    ],
    ids=["a cent", "no credit", "no debit", "two currencies", "two currencies, equal sums"],
)
async def test_an_unbalanced_transaction_is_refused_at_commit(database: Database, scope: Scope, sides: Sides) -> None:
    transaction = database.transaction(scope)
    await post(await transaction.__aenter__(), scope, sides)  # every statement passes
    with pytest.raises(DBAPIError, match="does not balance: debits exceed credits by"):
        await transaction.__aexit__(None, None, None)
    async with database.transaction(scope) as session:
        assert (await session.exec(select(LedgerTransactionRow))).all() == []


@pytest.mark.parametrize("sides", [("0", "0"), ("1", "1"), ("-1", "0"), ("NaN", "0"), ("Infinity", "0")])
async def test_an_entry_has_one_side_above_zero(database: Database, scope: Scope, sides: tuple[str, str]) -> None:
    with pytest.raises(IntegrityError, match=r"one_side|ledger_entries_in_minor_units"):
        async with database.transaction(scope) as session:
            await post(session, scope, [(*sides, "usd")])


@pytest.mark.parametrize("change", ["UPDATE {} SET currency = 'eur'", "DELETE FROM {}"])
@pytest.mark.parametrize("table", ["ledger_entries", "ledger_transactions"])
async def test_what_is_posted_stays(database: Database, scope: Scope, table: str, change: str) -> None:
    async with database.transaction(scope) as session:
        await post(session, scope, [("1", "0", "usd"), ("0", "1", "usd")])
    with pytest.raises(DBAPIError, match=f"{table} is append-only"):
        async with database.transaction(scope) as session:
            await session.execute(text(change.format(table)))
    with pytest.raises(DBAPIError, match=f"{table} is append-only"):
        async with database.system_transaction() as session:
            await session.execute(text(change.format(table)))


async def test_an_entry_belongs_to_its_own_tenants_transaction(database: Database, scope: Scope) -> None:
    async with database.transaction(scope) as session:
        transaction = await post(session, scope, [("1", "0", "usd"), ("0", "1", "usd")])
    stranger = replace(scope, tenant_id="tenant_other")
    entries = [
        new_row(ENTRIES, stranger, transaction_id=transaction, position=7),
        new_row(ENTRIES, stranger, transaction_id=transaction, position=8, debit=Decimal(0), credit=Decimal(1)),
    ]
    for opened in (database.transaction(stranger), database.system_transaction()):
        with pytest.raises(DBAPIError, match="of another tenant or environment than its entry"):
            async with opened as session:
                await session.execute(insert(ENTRIES), entries)


async def test_the_same_fact_is_posted_once(database: Database, scope: Scope) -> None:
    other = replace(scope, environment_id="env_other")
    posting = post_payment("pay_1", "sandbox", Decimal("35.01"), "usd")
    for owner in (scope, scope, other):
        async with database.transaction(owner) as session:
            await insert_posting(session, owner, posting, NOW)
    for owner in (scope, other):
        async with database.transaction(owner) as session:
            entries = (await session.exec(select(LedgerEntryRow).order_by(LedgerEntryRow.account))).all()
            assert [(row.account, row.debit, row.credit) for row in entries] == [
                ("accounts_receivable", Decimal(0), Decimal("35.01")),
                ("cash_in_transit:sandbox", Decimal("35.01"), Decimal(0)),
            ]
    header = new_row(TRANSACTIONS, scope, kind=posting.kind.value, reference=posting.reference)
    with pytest.raises(IntegrityError, match="ledger_transactions_once"):
        async with database.transaction(scope) as session:
            await session.execute(insert(TRANSACTIONS).values(header))


FINE_AND_TOO_FINE = [
    ("usd", "1.01", "1.011"),
    ("usd", "1.01", "1.010000001"),
    ("jpy", "1", "1.1"),
    ("JPY", "1", "1.1"),
    ("kwd", "1.001", "1.0001"),
    ("clf", "1.0001", "1.00001"),
    ("usd", "1e23", "1e24"),
    ("usd", "1", "NaN"),
]


@pytest.mark.parametrize(("table", "column"), AMOUNTS, ids=[f"{table.name}.{column.name}" for table, column in AMOUNTS])
async def test_no_amount_is_finer_than_its_currency(database: Database, table: Table, column: Column[Any]) -> None:
    """The CHECK itself is asked, with the other amounts of the row at 0."""
    checked = text(
        "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conrelid = CAST(:table AS regclass)"
        " AND conname = :table || '_in_minor_units'"
    )
    columns = {each.name: Decimal(0) for owner, each in AMOUNTS if owner is table}
    names = ", ".join(f"CAST(:{name} AS numeric) AS {name}" for name in columns)
    async with database.engine.connect() as connection:
        rule = (await connection.execute(checked, {"table": table.name})).scalar_one()
        query = text(f"SELECT {rule} FROM (SELECT {names}, CAST(:currency AS text) AS currency) AS row")
        for currency, *amounts in FINE_AND_TOO_FINE:
            values = [columns | {column.name: Decimal(amount), "currency": currency} for amount in amounts]
            holds = [(await connection.execute(query, each)).scalar_one() for each in values]
            assert holds == [True, False], (currency, amounts)


async def test_no_column_rounds_an_amount_before_it_is_checked(database: Database) -> None:
    query = text(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'numeric' AND numeric_scale IS NULL"
    )
    async with database.engine.connect() as connection:
        found = {tuple(row) for row in (await connection.execute(query)).all()}
    assert found == {(table.name, column.name) for table, column in AMOUNTS}


@pytest.mark.parametrize(
    ("currency", "amount"), [("usd", "1.00001"), ("jpy", "0.5"), ("kwd", "1.0001"), ("clf", "1.00001")]
)
async def test_an_amount_that_is_too_fine_is_not_stored(
    database: Database, scope: Scope, currency: str, amount: str
) -> None:
    with pytest.raises(IntegrityError, match="ledger_entries_in_minor_units"):
        async with database.transaction(scope) as session:
            await post(session, scope, [(amount, "0", currency), ("0", amount, currency)])
