"""The demo's year, told by the pure core alone, must equal the golden file that was derived by hand."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from billing.codec import instant_text
from billing.dunning import DunningSettings, next_attempt
from billing.invoices import Invoice, InvoiceInputs, build_final_invoice, invoice_number, verify
from billing.meters import UsageQuantity, UsageSnapshot
from billing.money import amount_text, decimal_text, total
from billing.periods import Cadence, Period, zone_info
from billing.prices import Price
from billing.subscriptions import close_period, finalize_at, open_subscription
from billing.terms import DueInvoice, LineItem, Terms

from .builders import MONTHLY, package, seat, talk, tax

DEMO = Path(__file__).parents[3] / "starter" / "demo"
GRACE_SECONDS = 7200
PREMIUM_MODELS = {"sonic-large", "sonic-ultra"}
PRICES: dict[str, Price] = {"seat": seat(), "talk": talk(), "premium": package()}
KEYS = {price.id: key for key, price in PRICES.items()}


@dataclass(frozen=True, slots=True)
class Customer:
    external_id: str
    zone: str
    start: datetime
    seats: int


def local(wall_clock: str, zone: str) -> datetime:
    return datetime.fromisoformat(wall_clock).replace(tzinfo=zone_info(zone)).astimezone(zone_info("UTC"))


CUSTOMERS = [
    Customer("northwind-labs", "America/New_York", local("2025-01-01", "America/New_York"), 12),
    Customer("seine-voix", "Europe/Paris", local("2025-01-15T09:30", "Europe/Paris"), 3),
    Customer("kaveri-health", "Asia/Kolkata", local("2025-01-31", "Asia/Kolkata"), 5),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEMO / "golden" / "invoices.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def events() -> dict[str, list[dict[str, Any]]]:
    """Events of each customer; the first of each id counts."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    with gzip.open(DEMO / "events.ndjson.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            kept.setdefault((event["external_customer_id"], event["event_id"]), event)
    by_customer: dict[str, list[dict[str, Any]]] = {}
    for (customer, _), event in kept.items():
        by_customer.setdefault(customer, []).append(event)
    return by_customer


def usage_of(events: list[dict[str, Any]], period: Period) -> tuple[UsageSnapshot, ...]:
    inside = [event for event in events if period.contains(as_utc(event["timestamp"]))]
    seconds = total(Decimal(str(event["properties"]["duration_seconds"])) for event in inside)
    premium = sum(1 for event in inside if event["properties"]["model"] in PREMIUM_MODELS)
    return (
        UsageSnapshot("talk", "meter_talk", period, period.end, UsageQuantity(seconds, len(inside))),
        UsageSnapshot("premium", "meter_premium", period, period.end, UsageQuantity(Decimal(premium), premium)),
    )


def as_utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone_info("UTC"))


def agreed(customer: Customer) -> Terms:
    return Terms(
        id=customer.external_id,
        currency="usd",
        zone=customer.zone,
        cadence=Cadence(MONTHLY.period),
        anchor=customer.start,
        start=customer.start,
        lines=tuple(LineItem(key, price, Decimal(customer.seats), customer.start) for key, price in PRICES.items()),
        tax_rates=(tax("18"),),
    )


def due_invoices(terms: Terms, until: datetime) -> Iterator[DueInvoice]:
    """Everything that falls due before `until`, in order."""
    step = open_subscription(terms)
    while step.invoice is None or finalize_at(step.invoice, GRACE_SECONDS) <= until:
        if step.invoice is not None:
            yield step.invoice
        step = close_period(terms, step.state)


def as_golden(customer: str, invoice: Invoice, number: str, finalized_at: datetime) -> dict[str, Any]:
    declined = customer == "northwind-labs" and finalized_at.month == 3
    retry = next_attempt(DunningSettings(), 1, finalized_at) if declined else finalized_at
    assert retry is not None
    return {
        "number": number,
        "customer": customer,
        "reason": invoice.reason.value,
        "period_start": instant_text(invoice.period.start),
        "period_end": instant_text(invoice.period.end),
        "lines": [
            {
                "price": KEYS[line.price_id or ""],
                "quantity": decimal_text(line.quantity),
                "amount": amount_text(line.amount, invoice.currency),
                "period_start": instant_text(line.period.start),
                "period_end": instant_text(line.period.end),
            }
            for line in invoice.lines
        ],
        "subtotal": amount_text(invoice.subtotal, invoice.currency),
        "tax": amount_text(invoice.total_tax, invoice.currency),
        "total": amount_text(invoice.total, invoice.currency),
        "finalized_at": instant_text(finalized_at),
        "paid_at": instant_text(retry),
    }


def test_the_core_tells_the_same_year(golden: dict[str, Any], events: dict[str, list[dict[str, Any]]]) -> None:
    until = as_utc(golden["clock_end"])
    made: list[tuple[datetime, str, Invoice]] = []
    for customer in CUSTOMERS:
        terms = agreed(customer)
        for due in due_invoices(terms, until):
            usage = usage_of(events[customer.external_id], due.period)
            inputs = InvoiceInputs("usd", due, terms.tax_rates, usage)
            invoice = build_final_invoice(inputs)
            assert verify(inputs, invoice) == ()
            made.append((finalize_at(due, GRACE_SECONDS), customer.external_id, invoice))
    made.sort(key=lambda row: row[0])
    got, sequence = [], dict[str, int]()
    for finalized_at, customer_id, invoice in made:
        month = f"{finalized_at:%Y%m}"
        sequence[month] = sequence.get(month, 0) + 1
        got.append(as_golden(customer_id, invoice, invoice_number(sequence[month], finalized_at), finalized_at))
    expected = [{key: row[key] for key in got[0]} for row in golden["invoices"]]
    for row in expected:
        row["lines"] = [{**line, "quantity": decimal_text(Decimal(line["quantity"]))} for line in row["lines"]]
    assert got == expected


def test_a_year_of_money_adds_up(golden: dict[str, Any]) -> None:
    for row in golden["invoices"]:
        subtotal = sum((Fraction(line["amount"]) for line in row["lines"]), Fraction(0))
        assert subtotal == Fraction(row["subtotal"])
        assert subtotal + Fraction(row["tax"]) == Fraction(row["total"])
