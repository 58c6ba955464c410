"""What must hold in the books: planted by hand where it does not, found, and gone once it is put right."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select
from temporalio.testing import ActivityEnvironment

from activities.book_checks import BOOK_CHECKS
from activities.findings import (
    NUMBER_GAP,
    OUTBOX_STUCK,
    UNBALANCED_LEDGER,
    WALLET_LOT_UNEVEN,
    WEBHOOK_UNDELIVERED,
    FindingActivities,
    Look,
)
from models.database import Database, Scope
from models.queries.findings import list_findings
from models.tables import FindingRow, InvoiceRow
from tests.models.books import START, Books
from tests.models.rows import TABLES, new_row
from tests.models.test_outbox import RecordingGate

HOUR = timedelta(hours=1)
NOW = datetime(2025, 3, 1, tzinfo=UTC)
BY_NAME = {table.name: table for table in TABLES}


class Auditor:
    """Makes one check after the other, an hour apart, on a database of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.gate = RecordingGate()
        self.now = NOW

    async def find(self, name: str) -> list[FindingRow]:
        """One check; what is open afterwards."""
        self.now += HOUR
        activities = FindingActivities(self.database, self.gate, BOOK_CHECKS)  # type: ignore[arg-type]  # asks nothing
        looked = await ActivityEnvironment().run(activities.look, Look(name, self.now))
        async with self.database.system_transaction() as session:
            found = list(await list_findings(session, closed=False, most=10))
        assert looked.found == len(found)
        return found

    async def change(self, statement: str, **values: object) -> None:
        """A hand in the database."""
        async with self.database.system_transaction() as session:
            await session.execute(text(statement), values)

    async def lift(self, table: str) -> None:
        """Takes away the constraints that would refuse what is planted."""
        async with self.database.engine.begin() as owner:
            await owner.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))

    async def insert(self, table: str, scope: Scope, **values: Any) -> str:
        """A row; returns its id."""
        row = new_row(BY_NAME[table], scope, **values)
        async with self.database.system_transaction() as session:
            await session.execute(BY_NAME[table].insert(), row)
        return str(row.get("id", ""))


@pytest.fixture
def auditor(own_database: Database) -> Auditor:
    return Auditor(own_database)


async def _finalized(auditor: Auditor, scope: Scope) -> InvoiceRow:
    books = await Books(auditor.database, scope, "usd").open()
    await books.subscribe()
    return await books.finalize((await books.invoices("DRAFT"))[0].id, START)


async def test_a_ledger_transaction_changed_by_hand(auditor: Auditor, scope: Scope) -> None:
    await _finalized(auditor, scope)
    assert await auditor.find(UNBALANCED_LEDGER) == []
    await auditor.lift("ledger_entries")
    await auditor.change("UPDATE ledger_entries SET debit = debit + 0.01 WHERE debit > 0")

    (finding,) = await auditor.find(UNBALANCED_LEDGER)

    assert (finding.name, finding.tenant_id, finding.repaired) == (UNBALANCED_LEDGER, scope.tenant_id, False)
    assert "debits of 10.02 and credits of 10.01 USD" in finding.sentence
    await auditor.change("UPDATE ledger_entries SET debit = debit - 0.01 WHERE debit > 0")
    assert await auditor.find(UNBALANCED_LEDGER) == []


async def test_a_number_that_no_invoice_has(auditor: Auditor, scope: Scope) -> None:
    row = await _finalized(auditor, scope)
    assert row.invoice_number == "INV-202501-00001"
    assert await auditor.find(NUMBER_GAP) == []
    await auditor.change("UPDATE invoice_sequences SET value = 2")

    (finding,) = await auditor.find(NUMBER_GAP)

    assert finding.reference == "202501"
    assert finding.sentence.startswith("In 202501 the numbers up to 2 were given; invoices that have one: 1.")
    await auditor.change("UPDATE invoice_sequences SET value = 1")
    assert await auditor.find(NUMBER_GAP) == []


async def test_a_number_that_no_credit_note_has(auditor: Auditor, scope: Scope) -> None:
    await auditor.change(
        "INSERT INTO credit_note_sequences VALUES (:tenant, :environment, '202501', 1)",
        tenant=scope.tenant_id,
        environment=scope.environment_id,
    )
    (finding,) = await auditor.find(NUMBER_GAP)
    assert finding.reference == "CN-202501"
    assert "credit notes up to 1 were given; credit notes that have one: 0." in finding.sentence
    await auditor.change("DELETE FROM credit_note_sequences")
    assert await auditor.find(NUMBER_GAP) == []


async def test_a_lot_that_is_not_the_sum_of_its_transactions(auditor: Auditor, scope: Scope) -> None:
    await auditor.lift("wallet_lots")
    await auditor.lift("wallet_transactions")
    lot = await auditor.insert("wallet_lots", scope, credits=5, remaining=3)
    await auditor.insert("wallet_transactions", scope, lot_id=lot, credits=5, sequence=1, wallet_id="wallet_1")
    await auditor.insert("wallet_transactions", scope, lot_id=lot, credits=-1, sequence=2, wallet_id="wallet_1")

    (finding,) = await auditor.find(WALLET_LOT_UNEVEN)  # 5 - 1 = 4, and the lot says 3

    assert finding.reference == lot
    assert "says that 3 credits are left, and its transactions come to 4." in finding.sentence
    await auditor.change("UPDATE wallet_lots SET remaining = 4")
    assert await auditor.find(WALLET_LOT_UNEVEN) == []


async def test_an_outbox_row_that_nobody_carries_on(auditor: Auditor, scope: Scope) -> None:
    waiting = {"kind": "start_invoice", "reference": "inv_1", "relayed_at": None}
    tried = await auditor.insert("outbox", scope, **waiting, created_at=NOW, attempts=3, last_error="no route")
    untried = await auditor.insert("outbox", scope, **waiting, created_at=NOW, attempts=0)
    await auditor.insert("outbox", scope, **waiting, created_at=NOW + HOUR)  # not ten minutes old at the first check

    said = {each.reference: each.sentence for each in await auditor.find(OUTBOX_STUCK)}

    assert set(said) == {tried, untried}
    assert "waited since 2025-03-01 00:00 UTC; 3 tries, the last: no route." in said[tried]
    assert "No relay has tried it" in said[untried]
    await auditor.change("UPDATE outbox SET relayed_at = now()")
    assert await auditor.find(OUTBOX_STUCK) == []


async def test_a_delivery_that_fell_silent_is_started_again_and_one_given_up_is_reported(
    auditor: Auditor, scope: Scope
) -> None:
    endpoint = await auditor.insert(
        "webhook_endpoints", scope, url="https://r.example", endpoint_status="enabled", status="published"
    )
    common = {"endpoint_id": endpoint, "created_at": NOW - 7 * HOUR, "updated_at": NOW - 7 * HOUR}
    silent = await auditor.insert("webhook_deliveries", scope, **common, delivery_status="pending")
    failed = await auditor.insert(
        "webhook_deliveries", scope, **common, delivery_status="failed", last_error="answered 500"
    )
    await auditor.insert("webhook_deliveries", scope, **common, delivery_status="delivered")
    await auditor.insert("webhook_deliveries", scope, **common | {"updated_at": NOW}, delivery_status="pending")

    found = {each.reference: each for each in await auditor.find(WEBHOOK_UNDELIVERED)}

    assert set(found) == {silent, failed}
    assert auditor.gate.started == [silent]
    assert found[silent].repaired
    assert "was given up: answered 500" in found[failed].sentence
    assert f"durabill webhooks replay {failed}" in found[failed].sentence
    await auditor.change("UPDATE webhook_deliveries SET delivery_status = 'delivered'")
    assert await auditor.find(WEBHOOK_UNDELIVERED) == []
    async with auditor.database.system_transaction() as session:
        assert len((await session.exec(select(FindingRow))).all()) == 2
