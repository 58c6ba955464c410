"""Credit notes do on the stack what the simulator says, in stories that nobody wrote: to the last field.

`make test-full` plays more of them.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlmodel import col, func, select

from activities.payloads import amount_remaining
from billing.ledger import ACCOUNTS_RECEIVABLE, BAD_DEBT, CUSTOMER_CREDIT
from billing.simulation.simulate import simulate
from models.tables import CreditNoteRow, CreditNoteSequenceRow, InvoiceRow, LedgerEntryRow, WalletLotRow
from starter.simulate.comparing import Comparison
from tests.api.conftest import Server, Tenant, new_tenant
from tests.api.test_stories_on_the_stack import AT_ONCE, played
from tests.simulation.credit_stories import credit_story

NUMBERS = range(60) if os.environ.get("FAULTS_LONG") else (2, 15)
Books = dict[str, Decimal]


@pytest.fixture(scope="module")
def compared(server: Server) -> dict[int, tuple[Comparison, Tenant]]:
    """Every story, played in a tenant of its own."""

    def one(number: int) -> tuple[Comparison, Tenant]:
        tenant = new_tenant(server)
        return played(json.dumps(credit_story(number)), tenant), tenant

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(NUMBERS, pool.map(one, NUMBERS), strict=True))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_product_credits_as_the_simulator_does(number: int, compared: dict[int, tuple[Comparison, Tenant]]) -> None:
    found, _ = compared[number]
    assert found.differences == ()
    assert found.outcome == "same"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_books_agree_with_invoices_wallets_and_numbers(
    number: int, compared: dict[int, tuple[Comparison, Tenant]], server: Server
) -> None:
    async def read() -> tuple[Books, Books]:
        async with server.database.transaction(compared[number][1].scope) as session:
            sums = select(LedgerEntryRow.account, func.sum(LedgerEntryRow.debit) - func.sum(LedgerEntryRow.credit))
            entries = dict((await session.exec(sums.group_by(col(LedgerEntryRow.account)))).all())
            invoices = (await session.exec(select(InvoiceRow))).all()
            finalized = [row for row in invoices if row.invoice_status == "FINALIZED"]
            lots = (await session.exec(select(WalletLotRow))).all()
            notes = (await session.exec(select(CreditNoteRow.credit_note_number))).all()
            given = (await session.exec(select(CreditNoteSequenceRow))).all()
        owed = sum((amount_remaining(row) for row in finalized if not row.uncollectible), Decimal(0))
        lost = sum((amount_remaining(row) for row in finalized if row.uncollectible), Decimal(0))
        expected = {ACCOUNTS_RECEIVABLE: owed, BAD_DEBT: lost}
        expected[CUSTOMER_CREDIT] = -sum((lot.remaining for lot in lots), Decimal(0))
        assert len([one for one in notes if one]) == sum(one.value for one in given)
        return {name: entries.get(name, Decimal(0)) for name in expected}, expected

    booked, expected = server.run(read())
    assert booked == expected


def test_the_stories_credit_something() -> None:
    """By hand and for late usage, of either type, and refused where nothing is left."""
    results = [simulate(credit_story(number)) for number in NUMBERS]
    notes = [note for each in results for note in each["credit_notes"]]
    assert {note["type"] for note in notes} == {"ADJUSTMENT", "REFUND"}
    assert sum(len(each["refused"]) for each in results) >= 5
    by_hand = sum(action["do"] == "credit_note" for number in NUMBERS for action in credit_story(number)["actions"])
    refused = sum(
        credit_story(number)["actions"][one["action"]]["do"] == "credit_note"
        for number, each in zip(NUMBERS, results, strict=True)
        for one in each["refused"]
    )
    assert len(notes) > by_hand - refused > 10
