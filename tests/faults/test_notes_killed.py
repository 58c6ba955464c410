"""kill -9 in the middle of a credit note, at each of its steps: it is issued once, and gives back its amount once.

The steps are held from outside, by locks on what they write next.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from activities.settings import save_billing_settings
from billing.money import total
from deploy.embedded.process import Part
from models.ids import derived_id
from models.tables import InvoiceRow
from tests.faults.client import Json
from tests.faults.driver import judge, money_back
from tests.faults.driver.money_back import MoneyBack
from tests.faults.month import START
from tests.faults.stack import Stack
from tests.faults.story import MONTHLY, Event, Subscriber
from tests.faults.tenant import DAY, Tenant, on_clock

WAITS_FOR_MONEY, PAID = "pm_card_declines_hard", "pm_card_succeeds"
CREDITED = "10.5"
NAMES = ("invoice", "note", "number", "posting")
"""What a note waits for in these tests, in the order in which it needs them."""
INVOICE = text("SELECT 1 FROM invoices WHERE id = :id FOR UPDATE")
NOTE = text("SELECT 1 FROM credit_notes WHERE id = :id FOR UPDATE")
POSTING = text(
    "INSERT INTO ledger_transactions"
    " (tenant_id, environment_id, id, kind, reference, currency, occurred_at, created_at)"
    " VALUES (:tenant, :environment, :id, :kind, :note, 'usd', now(), now())"
)
LOTS = text("LOCK TABLE wallet_lots IN SHARE MODE")
WAITING = text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")


class _Over(Exception):
    """Takes everything back."""


@asynccontextmanager
async def holding(tenant: Tenant) -> AsyncIterator[AsyncSession]:
    """A transaction of somebody else, whose locks end with it, and nothing of it stays."""
    with suppress(_Over):
        async with tenant.database.transaction(tenant.scope) as session:
            yield session
            raise _Over


async def until_held(tenant: Tenant, count: int) -> None:
    """Waits until so many transactions wait for a lock."""
    async with asyncio.timeout(60), tenant.database.transaction(tenant.scope) as session:
        while (await session.execute(WAITING)).scalar_one() < count:  # noqa: ASYNC110 (the database tells nobody)
            await asyncio.sleep(0.02)


async def invoices(tenant: Tenant, card: str) -> list[str]:
    """An invoice for each step, paid or declined for good."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    people = [Subscriber(name, "UTC", start, 2, card, MONTHLY, False) for name in NAMES]
    await asyncio.gather(*(tenant.sign_up(each) for each in people))
    wanted = {WAITS_FOR_MONEY: "FAILED", PAID: "SUCCEEDED"}[card]
    async with asyncio.timeout(60):
        while True:
            async with tenant.database.transaction(tenant.scope) as session:
                rows = (await session.exec(select(InvoiceRow))).all()
            if [row.payment_status for row in rows] == [wanted] * len(NAMES):
                return [row.id for row in rows]
            await asyncio.sleep(0.05)


async def drafts(tenant: Tenant, invoice_ids: list[str]) -> list[str]:
    """A note of each, which changes nothing yet."""
    body = {"reason": "SERVICE_ISSUE", "amount": CREDITED, "process_credit_note": False}
    made = [await tenant.client.post("/creditnotes", {**body, "invoice_id": each}) for each in invoice_ids]
    return [str(note["id"]) for note in made]


async def finalized_while(part: Part, tenant: Tenant, card: str) -> list[Json]:
    """Notes of four invoices, all finalized at once, each held at another step while `part` is killed."""
    owners = await invoices(tenant, card)
    notes = await drafts(tenant, owners)
    kind = "credit_note_adjusted" if card == WAITS_FOR_MONEY else "credit_note_refunded"
    tenant_id, environment_id = tenant.scope.tenant_id, tenant.scope.environment_id
    posting = {
        "tenant": tenant_id, "environment": environment_id, "kind": kind, "note": notes[3],
        "id": derived_id("ledger", tenant_id, environment_id, kind, notes[3]),
    }  # fmt: skip
    async with asyncio.TaskGroup() as group:
        async with holding(tenant) as locks:
            await locks.execute(INVOICE, {"id": owners[0]})
            await locks.execute(NOTE, {"id": notes[1]})
            await locks.execute(POSTING, posting)
            answers = []
            for count, place in enumerate((3, 2, 1, 0), start=1):  # the last holds the number for which the third waits
                path = f"/creditnotes/{notes[place]}/finalize"
                answers.append(group.create_task(tenant.client.post(path, {})))
                await until_held(tenant, count)
            await asyncio.to_thread(part.kill)
        await asyncio.to_thread(part.restart)
    return [answer.result() for answer in answers]


async def check(tenant: Tenant, answers: list[Json]) -> MoneyBack:
    """Every note is there once, with its effect."""
    async with tenant.database.transaction(tenant.scope) as session:
        found = await money_back.read_money_back(session, [], [])
        rows = (await session.exec(select(InvoiceRow))).all()
    given = [note.credit_note_number for note in found.notes]
    assert [*judge.numbers(given), *money_back.notes(found), *money_back.credit(found)] == []
    assert sorted(str(note["credit_note_number"]) for note in answers) == sorted(filter(None, given))
    assert {row.id for row in rows} == {note.invoice_id for note in found.notes}
    for row in rows:
        own = [note for note in found.notes if note.invoice_id == row.id]
        assert total((row.adjustment_amount, row.refunded_amount)) == total(note.total_amount for note in own)
    return found


async def test_the_worker_dies_while_notes_are_finalized(stack: Stack, tenant: Tenant) -> None:
    """Invoices that wait for money: their workflows issue the notes, and do it again with the next worker."""
    answers = await finalized_while(stack.worker, tenant, WAITS_FOR_MONEY)
    found = await check(tenant, answers)
    assert [(note.credit_note_type, note.total_amount) for note in found.notes] == [
        ("ADJUSTMENT", Decimal(CREDITED))
    ] * len(NAMES)
    assert stack.died() == []


async def test_the_api_dies_while_notes_are_finalized(stack: Stack, tenant: Tenant) -> None:
    """Paid invoices have no workflow any more: the API issues their notes, and does it when it is asked again."""
    answers = await finalized_while(stack.api, tenant, PAID)
    found = await check(tenant, answers)
    assert total(lot.remaining for lot in found.lots) == len(NAMES) * Decimal(CREDITED)
    assert tenant.client.repeated >= len(NAMES)
    assert stack.died() == []


async def test_the_worker_dies_while_late_usage_is_credited(stack: Stack, tenant: Tenant) -> None:
    """March's close credits February's calls, which were voided: it has its number, and dies before the refund."""
    async with tenant.database.transaction(tenant.scope) as session:
        await save_billing_settings(session, tenant.scope, {"late_usage": "credit_note"})
    await tenant.start_clock(START)
    seine = on_clock("seine", "UTC", START, PAID, MONTHLY)
    call = Event("call", START + DAY, Decimal(400))  # 400 x 0.0175 = 7, and 18 % tax: 8.26
    await tenant.sign_up(seine, [call])
    await tenant.advance(START + 30 * DAY)
    await tenant.client.post("/events/call/void", {"reason": "no call", "external_customer_id": "seine"})
    async with asyncio.TaskGroup() as group:
        async with holding(tenant) as locks:
            await locks.execute(LOTS)
            advancing = group.create_task(tenant.advance(START + 62 * DAY))
            await until_held(tenant, 1)
            await asyncio.to_thread(stack.worker.kill)
        await asyncio.to_thread(stack.worker.restart)
        await advancing
    async with tenant.database.transaction(tenant.scope) as session:
        found = await money_back.read_money_back(session, [], [])
    (note,) = found.notes
    assert (note.credit_note_number, note.credit_note_type, note.total_amount) == (
        "CN-202503-00001", "REFUND", Decimal("8.26")
    )  # fmt: skip
    assert [*money_back.notes(found), *money_back.credit(found)] == []
    assert [lot.credits for lot in found.lots] == [Decimal("8.26")]
    assert stack.died() == []
