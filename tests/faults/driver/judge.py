"""Holds what is there when all is quiet against the simulator, the payment company's own books and the receivers."""

import asyncio
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
from sqlmodel import col, select

from billing.codec import instant_text
from billing.ledger import ACCOUNTS_RECEIVABLE, BAD_DEBT, cash_in_transit
from billing.money import ZERO, minus, total
from models.database import Database
from models.tables import (
    InvoiceRow,
    LedgerEntryRow,
    LedgerTransactionRow,
    OutboxRow,
    RefundRow,
    WebhookDeliveryRow,
    WebhookEventRow,
)
from tests.faults.driver import money_back
from tests.faults.driver.money_back import MoneyBack, read_money_back
from tests.faults.driver.player import Outcome, PatientApi, Tally
from tests.faults.driver.proxies import LOOPBACK
from tests.faults.driver.stack import FaultStack
from tests.faults.driver.tenants import Tenant

Json = dict[str, Any]
QUIET_SECONDS = 900
POLL_SECONDS = 1.0
SHOWN = 12
ALERT = "wallet.ongoing_balance."
NUMBER = re.compile(r"(?:INV|CN)-(\d{6})-(\d{5})")


@dataclass
class Verdict:
    """What does not hold, in sentences, and what was looked at, in numbers."""

    problems: list[str] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Facts:
    """What a tenant has."""

    invoices: Sequence[InvoiceRow]
    entries: Sequence[LedgerEntryRow]
    currencies: dict[str, str]
    """Ledger transaction -> its currency."""
    events: Sequence[WebhookEventRow]
    deliveries: Sequence[WebhookDeliveryRow]
    charges: dict[str, list[Json]]
    """Invoice -> its charges in the payment company's own books."""
    back: MoneyBack


async def quiet(stack: FaultStack, database: Database, tenants: list[Tenant], say: Callable[[str], None]) -> list[str]:
    """Waits until nothing is left to do; what is left when patience ends, in words."""
    until, told = time.monotonic() + QUIET_SECONDS, time.monotonic()
    while left := await _left_to_do(stack, database, tenants):
        if time.monotonic() > until:
            return [f"still to do after {QUIET_SECONDS} s: {each}" for each in left[:SHOWN]]
        if time.monotonic() > told + 30:
            told = time.monotonic()
            say(f"waiting for {len(left)} things to be done: {left[0]}")
        await asyncio.sleep(POLL_SECONDS)
    return []


async def _left_to_do(stack: FaultStack, database: Database, tenants: list[Tenant]) -> list[str]:
    assert stack.relay is not None
    left = ["a webhook of the payment company is held"] * stack.relay.holds
    left += [f"the payment company has yet to deliver {each}" for each in await asyncio.to_thread(_unsent, stack)]
    for tenant in tenants:
        tenant.received()
        async with database.transaction(tenant.scope) as session:
            waiting = (await session.exec(select(OutboxRow).where(col(OutboxRow.relayed_at).is_(None)))).all()
            pending = select(WebhookDeliveryRow).where(WebhookDeliveryRow.delivery_status != "delivered")
            deliveries = (await session.exec(pending)).all()
            numbered = select(InvoiceRow).where(
                col(InvoiceRow.invoice_number).is_not(None),
                col(InvoiceRow.document_key).is_(None),
                InvoiceRow.invoice_status == "FINALIZED",
            )
            undrawn = (await session.exec(numbered)).all()
            on_the_way = select(RefundRow).where(col(RefundRow.refund_status).in_(money_back.UNDER_WAY))
            refunds = (await session.exec(on_the_way)).all()
        left += [f"outbox {row.kind} {row.reference} {row.last_error}" for row in waiting]
        left += [f"delivery {row.id} of {row.event_type} ({row.attempts} tries) {row.last_error}" for row in deliveries]
        left += [f"invoice {row.id} has no document" for row in undrawn]
        left += [f"refund {row.id} is {row.refund_status}" for row in refunds]
    return left


def _unsent(stack: FaultStack) -> list[str]:
    with sqlite3.connect(f"file:{stack.folder / 'books.sqlite'}?mode=ro", uri=True) as books:
        rows = books.execute("SELECT id, last_error FROM webhooks WHERE delivered_at IS NULL").fetchall()
    books.close()
    return [f"{name} ({error})" for name, error in rows]


async def judge(
    stack: FaultStack, database: Database, tenants: list[Tenant], outcomes: list[Outcome], tally: Tally
) -> Verdict:
    """Every law, for every tenant."""
    verdict = Verdict()
    for outcome in outcomes:
        verdict.problems += of_story(outcome)
        verdict.looked_at["stories"] += 1
        verdict.looked_at["invoices of the simulator"] += len(outcome.story.expected["invoices"])
    for number, tenant in enumerate(tenants):
        facts = await _read(stack, database, tenant)
        played = [outcome for outcome in outcomes if outcome.tenant == number]
        laws = (
            numbers(row.invoice_number for row in facts.invoices),
            numbers(row.credit_note_number for row in facts.back.notes),
            money(facts, played),
            ledger(facts),
            webhooks(facts, tenant),
            alerts(facts, played),
            money_back.notes(facts.back),
            money_back.refunds(facts.back),
            money_back.credit(facts.back),
        )
        verdict.problems += [f"tenant {number}: {problem}" for law in laws for problem in law]
        verdict.problems += await asyncio.to_thread(_unverified, stack, tenant, facts, tally)
        verdict.looked_at["invoices"] += len(facts.invoices)
        verdict.looked_at["charges"] += sum(len(charges) for charges in facts.charges.values())
        verdict.looked_at["credit notes"] += len(facts.back.notes)
        verdict.looked_at["of these for late usage"] += sum(bool(row.usage_correction_id) for row in facts.back.notes)
        verdict.looked_at["refunds"] += len(facts.back.refunds)
        verdict.looked_at["ledger transactions"] += len(facts.currencies)
        verdict.looked_at["webhook events"] += len(facts.events)
        verdict.looked_at["webhooks received"] += tenant.received().total()
    return verdict


def of_story(outcome: Outcome) -> list[str]:
    """What of a story is not as the simulator says."""
    name = outcome.story.name
    if outcome.stopped:
        return [f"{name}: the stack did not go on: {outcome.stopped}"]
    shown = [
        f"{name}: {each.path}: simulator {each.simulator!r}, stack {each.stack!r}"
        for each in outcome.differences[:SHOWN]
    ]
    return shown + ([f"{name}: {len(outcome.differences)} differences"] if len(outcome.differences) > SHOWN else [])


async def _read(stack: FaultStack, database: Database, tenant: Tenant) -> Facts:
    async with httpx.AsyncClient(base_url=stack.provider_url, timeout=60) as provider:
        charges = (await provider.get("/v1/charges")).json()["items"]
    books: dict[str, list[Json]] = {}
    for charge in charges:
        if charge["metadata"].get("tenant_id") == tenant.scope.tenant_id:
            books.setdefault(charge["invoice_id"], []).append(charge)
    ids = [charge["id"] for own in books.values() for charge in own]
    given_back = await asyncio.to_thread(money_back.given_back, stack.folder / "books.sqlite")
    async with database.transaction(tenant.scope) as session:
        return Facts(
            invoices=(await session.exec(select(InvoiceRow))).all(),
            entries=(await session.exec(select(LedgerEntryRow))).all(),
            currencies={row.id: row.currency for row in (await session.exec(select(LedgerTransactionRow))).all()},
            events=(await session.exec(select(WebhookEventRow))).all(),
            deliveries=(await session.exec(select(WebhookDeliveryRow))).all(),
            charges=books,
            back=await read_money_back(session, given_back, ids),
        )


def numbers(given: Iterable[str | None]) -> Iterator[str]:
    """In every month they run from 1 to the count of its invoices, or credit notes."""
    months: dict[str, list[int]] = {}
    for number in given:
        if number is not None:
            match = NUMBER.fullmatch(number)
            assert match is not None, number
            months.setdefault(match[1], []).append(int(match[2]))
    for month, numbers in sorted(months.items()):
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"the numbers of {month} are {sorted(numbers)}"


def money(facts: Facts, outcomes: list[Outcome]) -> Iterator[str]:
    """One successful charge for an invoice that was paid by card, none for another; as many as the simulator has."""
    known = {row.id: row for row in facts.invoices}
    for invoice_id, charges in facts.charges.items():
        succeeded = [charge for charge in charges if charge["status"] == "succeeded"]
        if invoice_id not in known:
            yield f"the payment company charged {invoice_id}, which does not exist"
        elif len(succeeded) > 1:
            yield f"invoice {invoice_id} was charged {len(succeeded)} times with success"
    if any(outcome.stopped for outcome in outcomes):
        return  # a story that was not played to its end has fewer
    attempts = [
        attempt for each in outcomes for invoice in each.story.expected["invoices"] for attempt in invoice["attempts"]
    ]
    ours = sorted(Decimal(each["amount"]) for each in attempts if each["outcome"] == "succeeded")
    theirs = sorted(
        Decimal(each["amount"])
        for charges in facts.charges.values()
        for each in charges
        if each["status"] == "succeeded"
    )
    if ours != theirs:
        yield (
            f"the company's books have {len(theirs)} successful charges of {total(theirs)};"
            f" the simulator {len(ours)} of {total(ours)}"
        )


def ledger(facts: Facts) -> Iterator[str]:
    """Each transaction balances; receivable is what is owed, bad debt what is written off, cash what was charged."""
    for transaction_id, currency in facts.currencies.items():
        own = [entry for entry in facts.entries if entry.transaction_id == transaction_id]
        debit, credit = total(entry.debit for entry in own), total(entry.credit for entry in own)
        if debit != credit or {entry.currency for entry in own} != {currency}:
            yield f"ledger transaction {transaction_id} has debits of {debit} and credits of {credit} {currency}"
    for currency in sorted(set(facts.currencies.values())):
        charged = total(
            Decimal(charge["amount"])
            for charges in facts.charges.values()
            for charge in charges
            if charge["status"] == "succeeded" and charge["currency"] == currency
        )
        given_back = total(row.amount for row in facts.back.given_back if row.currency == currency)
        cash = _balance(facts, cash_in_transit("sandbox"), currency)
        if cash != minus(charged, given_back):
            yield (f"cash in transit is {cash} {currency}, and the company took {charged} and gave back {given_back}")
        for account, given_up in ((ACCOUNTS_RECEIVABLE, False), (BAD_DEBT, True)):
            owed = total(
                max(ZERO, minus(minus(row.amount_due, row.adjustment_amount), row.amount_paid))
                for row in facts.invoices
                if row.currency == currency and row.invoice_status == "FINALIZED" and row.uncollectible is given_up
            )
            balance = _balance(facts, account, currency)
            if balance != owed:
                yield f"{account} is {balance} {currency}, and {owed} is {'written off' if given_up else 'owed'}"


def _balance(facts: Facts, account: str, currency: str) -> Decimal:
    own = [entry for entry in facts.entries if (entry.account, entry.currency) == (account, currency)]
    return minus(total(entry.debit for entry in own), total(entry.credit for entry in own))


def webhooks(facts: Facts, tenant: Tenant) -> Iterator[str]:
    """Every event has arrived, under its one id, and nothing else has; an invoice is announced once."""
    received, events = set(tenant.received()), {event.id for event in facts.events}
    if received != events:
        yield f"webhooks lost: {sorted(events - received)[:SHOWN]}; unknown: {sorted(received - events)[:SHOWN]}"
    announced = Counter(event.entity_id for event in facts.events if event.event_type == "invoice.update.finalized")
    finalized = Counter(row.id for row in facts.invoices if row.finalized_at is not None)
    if announced != finalized:
        yield f"announced as finalized, and not so or more than once: {dict(announced - finalized)}; not announced:" \
              f" {dict(finalized - announced)}"  # fmt: skip


def alerts(facts: Facts, outcomes: list[Outcome]) -> Iterator[str]:
    """What was told of wallets' balances is what the simulator tells, each once and at the same instant."""
    for outcome in outcomes:
        expected = [
            (entry["id"], entry["event"], entry["at"])
            for entry in outcome.story.expected["timeline"]
            if entry["event"].startswith(ALERT)
        ]
        told = [
            (outcome.wallets[wallet], event.event_type, instant_text(event.occurred_at))
            for event in facts.events
            if event.event_type.startswith(ALERT) and (wallet := event.entity_id.partition("/")[0]) in outcome.wallets
        ]
        if not outcome.stopped and sorted(told) != sorted(expected):
            yield f"{outcome.story.name}: of balances {sorted(told)} was told; the simulator tells {sorted(expected)}"


def _unverified(stack: FaultStack, tenant: Tenant, facts: Facts, tally: Tally) -> list[str]:
    """Invoices that do not follow from what is stored with them."""
    found = []
    with PatientApi(f"http://{LOOPBACK}:{stack.proxies['api'].port}", tenant.api_key, tally) as api:
        for row in facts.invoices:
            if row.invoice_number is not None:
                answer = api.get(f"invoices/{row.id}/verify")
                if not answer["verified"]:
                    found.append(f"invoice {row.id} is not what was stored: {answer}")
    return found
