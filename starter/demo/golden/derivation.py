"""Derives every invoice of the demo from the events file and the price list, like a spreadsheet.

Owns: the sums behind `invoices.json`, step by step, so that a reader can check them with a calculator.
Does not own: any rule of the engine. It imports the standard library only, so that it can disagree with the engine.

Quantities are seconds and calls, amounts US dollars, instants UTC. The arithmetic refuses to be inexact: every
operation runs in a context that traps a lost digit; only `to_cents` rounds, half away from zero.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo

EVENTS_FILE = Path(__file__).resolve().parent.parent / "events.ndjson.gz"

CLOCK_END = datetime(2026, 1, 3, tzinfo=UTC)
"""Where the test clock stops. What is finalized after this instant is not in the golden file."""

GRACE = timedelta(seconds=7200)
"""Late usage is awaited this long after a period's end; then the invoice is finalized and charged."""

# The price list: plan voice_pro, US dollars, monthly.
SEAT = Decimal("12.50")
TALK_TIERS = (
    # from second, to second (inclusive; None: no end), price a second, flat fee when the tier is entered
    (Decimal(0), Decimal(36000), Decimal("0.0015"), Decimal(0)),
    (Decimal(36000), Decimal(90000), Decimal("0.0012"), Decimal(5)),
    (Decimal(90000), None, Decimal("0.000875"), Decimal(0)),
)
PREMIUM_PACKAGE = Decimal("4.75")
PREMIUM_PACKAGE_CALLS = 50
PREMIUM_MODELS = ("sonic-large", "sonic-ultra")
TAX = Decimal("0.18")

_EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, DivisionByZero])
_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Customer:
    """A customer of the story and the local days on which its periods end, read off a calendar."""

    external_id: str
    zone: str
    clock_time: str
    seats: int
    days: tuple[str, ...]
    card: tuple[str, ...] = ()

    def boundaries(self) -> list[datetime]:
        """The start of the subscription and every period end after it, as UTC instants."""
        zone = ZoneInfo(self.zone)
        return [datetime.fromisoformat(f"{day}T{self.clock_time}").replace(tzinfo=zone).astimezone(UTC)
                for day in self.days]


# In the order in which the subscriptions start. `card` is what the bank says to each attempt; afterwards always ok.
CUSTOMERS = (
    Customer("northwind-labs", "America/New_York", "00:00:00", 12, (
        "2025-01-01", "2025-02-01", "2025-03-01", "2025-04-01", "2025-05-01", "2025-06-01", "2025-07-01",
        "2025-08-01", "2025-09-01", "2025-10-01", "2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01",
    ), card=("ok", "ok", "soft", "ok")),
    Customer("seine-voix", "Europe/Paris", "09:30:00", 3, (
        "2025-01-15", "2025-02-15", "2025-03-15", "2025-04-15", "2025-05-15", "2025-06-15", "2025-07-15",
        "2025-08-15", "2025-09-15", "2025-10-15", "2025-11-15", "2025-12-15", "2026-01-15",
    )),
    Customer("kaveri-health", "Asia/Kolkata", "00:00:00", 5, (
        "2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-31", "2025-06-30", "2025-07-31",
        "2025-08-31", "2025-09-30", "2025-10-31", "2025-11-30", "2025-12-31", "2026-01-31",
    )),
)


@dataclass(frozen=True)
class Call:
    """One `voice_call` event that counts."""

    customer: str
    at: datetime
    seconds: Decimal
    model: str


@dataclass(frozen=True)
class Step:
    """One row of the sheet."""

    line: str
    what: str
    quantity: str = ""
    rate: str = ""
    formula: str = ""
    exact: str = ""
    rounded: str = ""


@dataclass
class Line:
    """One invoice line in its making."""

    price: str
    quantity: Decimal
    start: datetime
    end: datetime
    amount: Decimal
    steps: list[Step]


@dataclass
class Invoice:
    """One invoice in its making; `number` and the payment come last, when all invoices are known."""

    customer: Customer
    reason: str
    start: datetime
    end: datetime
    finalized_at: datetime
    lines: list[Line]
    number: str = ""
    subtotal: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    total: Decimal = Decimal(0)
    attempts: list[str] = field(default_factory=list)
    paid_at: datetime | None = None
    steps: list[Step] = field(default_factory=list)


def text(value: Decimal) -> str:
    """A decimal in plain digits without trailing zeros: 54.000 -> 54."""
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def instant(value: datetime) -> str:
    """RFC 3339 in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_cents(value: Decimal) -> Decimal:
    """The only rounding: to cents, half away from zero."""
    return value.quantize(_CENT, rounding=ROUND_HALF_UP)


def total_of(values: Iterable[Decimal]) -> Decimal:
    """An exact sum."""
    result = Decimal(0)
    for value in values:
        result = _EXACT.add(result, value)
    return result


def read_calls(lines: Iterable[str]) -> tuple[list[Call], int]:
    """The calls that count, and how many lines were sent again: of one (customer, event id) the first line wins."""
    seen: set[tuple[str, str]] = set()
    calls: list[Call] = []
    repeated = 0
    for line in lines:
        event = json.loads(line)
        identity = (event["external_customer_id"], event["event_id"])
        if identity in seen:
            repeated += 1
            continue
        seen.add(identity)
        properties = event["properties"]
        calls.append(Call(identity[0], datetime.fromisoformat(event["timestamp"]),
                          Decimal(properties["duration_seconds"]), properties["model"]))
    return calls, repeated


def read_events_file(path: Path = EVENTS_FILE) -> Iterator[str]:
    """The lines of the shipped file, in its order, which is the order of posting."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from file


def seat_line(customer: Customer, start: datetime, end: datetime) -> Line:
    """Seats are paid in advance: the line stands for the period that opens."""
    exact = _EXACT.multiply(Decimal(customer.seats), SEAT)
    amount = to_cents(exact)
    step = Step("seat", f"seats from {instant(start)} to {instant(end)}", str(customer.seats), text(SEAT),
                f"{customer.seats} x {text(SEAT)}", text(exact), str(amount))
    return Line("seat", Decimal(customer.seats), start, end, amount, [step])


def talk_line(calls: list[Call], start: datetime, end: datetime) -> Line:
    """Seconds of all calls, each second in its own tier, plus the flat fee of every tier entered."""
    seconds = total_of(call.seconds for call in calls)
    steps = [Step("talk", f"seconds of {len(calls)} calls from {instant(start)} to before {instant(end)}",
                  text(seconds), formula="sum of duration_seconds")]
    amounts: list[Decimal] = []
    for number, (above, up_to, rate, flat) in enumerate(TALK_TIERS, start=1):
        if seconds <= above:
            break
        inside = _EXACT.subtract(seconds if up_to is None else min(seconds, up_to), above)
        amounts.append(_EXACT.multiply(inside, rate))
        upper = "the end" if up_to is None else text(up_to)
        steps.append(Step("talk", f"tier {number}: above {text(above)} to {upper}", text(inside), text(rate),
                          f"{text(inside)} x {text(rate)}", text(amounts[-1])))
        if flat:
            amounts.append(flat)
            steps.append(Step("talk", f"tier {number}: entered, flat fee", "1", text(flat), f"1 x {text(flat)}",
                              text(flat)))
    exact = total_of(amounts)
    formula = " + ".join(text(amount) for amount in amounts) or "no seconds, no charge"
    steps.append(Step("talk", "line", text(seconds), formula=formula, exact=text(exact), rounded=str(to_cents(exact))))
    return Line("talk", seconds, start, end, to_cents(exact), steps)


def premium_line(calls: list[Call], start: datetime, end: datetime) -> Line:
    """Calls on the large models, in started packages of 50."""
    count = sum(1 for call in calls if call.model in PREMIUM_MODELS)
    packages = -(-count // PREMIUM_PACKAGE_CALLS)
    exact = _EXACT.multiply(Decimal(packages), PREMIUM_PACKAGE)
    steps = [
        Step("premium", f"calls on {' or '.join(PREMIUM_MODELS)} from {instant(start)} to before {instant(end)}",
             str(count), formula="count of calls"),
        Step("premium", f"packages of {PREMIUM_PACKAGE_CALLS}, rounded up", str(packages),
             formula=f"{count} / {PREMIUM_PACKAGE_CALLS}, rounded up"),
        Step("premium", "line", str(packages), text(PREMIUM_PACKAGE), f"{packages} x {text(PREMIUM_PACKAGE)}",
             text(exact), str(to_cents(exact))),
    ]
    return Line("premium", Decimal(count), start, end, to_cents(exact), steps)


def customer_invoices(customer: Customer, calls: list[Call]) -> Iterator[Invoice]:
    """The opening invoice (first seats), then one a boundary: next seats, and the usage of the closed period."""
    ends = customer.boundaries()
    yield Invoice(customer, "SUBSCRIPTION_CREATE", ends[0], ends[1], ends[0], [seat_line(customer, ends[0], ends[1])])
    for start, end, following in zip(ends, ends[1:], ends[2:], strict=False):
        if end + GRACE > CLOCK_END:
            return
        inside = [call for call in calls if call.customer == customer.external_id and start <= call.at < end]
        lines = [seat_line(customer, end, following), talk_line(inside, start, end), premium_line(inside, start, end)]
        yield Invoice(customer, "SUBSCRIPTION_CYCLE", start, end, end + GRACE, lines)


def add_totals(invoice: Invoice) -> None:
    """Subtotal of the rounded lines, 18 % tax on it rounded once, total."""
    invoice.subtotal = total_of(line.amount for line in invoice.lines)
    exact_tax = _EXACT.multiply(invoice.subtotal, TAX)
    invoice.tax = to_cents(exact_tax)
    invoice.total = _EXACT.add(invoice.subtotal, invoice.tax)
    invoice.steps = [step for line in invoice.lines for step in line.steps]
    invoice.steps += [
        Step("subtotal", "sum of the lines", formula=" + ".join(str(line.amount) for line in invoice.lines),
             exact=text(invoice.subtotal), rounded=str(invoice.subtotal)),
        Step("tax", "gst18, 18 % of the subtotal", str(invoice.subtotal), text(TAX),
             f"{invoice.subtotal} x {text(TAX)}", text(exact_tax), str(invoice.tax)),
        Step("total", "subtotal plus tax", formula=f"{invoice.subtotal} + {invoice.tax}", exact=text(invoice.total),
             rounded=str(invoice.total)),
    ]


def add_payment(invoice: Invoice, answers: list[str]) -> None:
    """Charge at finalizing; a soft decline is tried again one day later, at the same clock time in the zone."""
    zone = ZoneInfo(invoice.customer.zone)
    attempt_at = invoice.finalized_at
    while True:
        answer = answers.pop(0) if answers else "ok"
        invoice.attempts.append("SUCCEEDED" if answer == "ok" else "FAILED")
        invoice.steps.append(Step("payment", f"attempt {len(invoice.attempts)} at {instant(attempt_at)}: {answer}",
                                  formula="charge the total", exact=text(invoice.total), rounded=str(invoice.total)))
        if answer == "ok":
            invoice.paid_at = attempt_at
            return
        attempt_at = (attempt_at.astimezone(zone) + timedelta(days=1)).astimezone(UTC)


def add_numbers(invoices: list[Invoice]) -> None:
    """INV-YYYYMM-00001 in the order of finalizing; the month is the UTC month, the count restarts with it."""
    counts: dict[str, int] = {}
    for invoice in invoices:
        month = invoice.finalized_at.strftime("%Y%m")
        counts[month] = counts.get(month, 0) + 1
        invoice.number = f"INV-{month}-{counts[month]:05d}"


def derive(calls: list[Call]) -> list[Invoice]:
    """All invoices that are finalized when the clock stops, in the order of their numbers."""
    invoices = [invoice for customer in CUSTOMERS for invoice in customer_invoices(customer, calls)]
    # Python's sort keeps the order of equals: at one instant the subscription that was created first comes first.
    invoices.sort(key=lambda invoice: invoice.finalized_at)
    add_numbers(invoices)
    cards = {customer.external_id: list(customer.card) for customer in CUSTOMERS}
    for invoice in invoices:
        add_totals(invoice)
        add_payment(invoice, cards[invoice.customer.external_id])
    return invoices
