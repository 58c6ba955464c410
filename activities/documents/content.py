"""What an invoice or a receipt says: plain, validated data, no layout.

Owns the shape of a document's content and the check that its sums hold. Does not compute amounts (`billing/` did),
read a database or a clock, or know how a page looks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from billing import money

Paper = Literal["a4", "letter"]
ZERO = Decimal(0)


@dataclass(frozen=True)
class Party:
    """A seller or a buyer. `tax_id` is shown as given, label included ("GSTIN 29ABCDE1234F1Z5").

    `language` is a BCP 47 code; only "ja" has an effect: Han characters take their Japanese forms.
    """

    name: str
    address_lines: tuple[str, ...] = ()
    tax_id: str = ""
    email: str = ""
    language: str = ""


@dataclass(frozen=True)
class Period:
    """A half-open span [start, end) of two aware instants; equal instants are a single moment (a one-time charge)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for field, moment in (("start", self.start), ("end", self.end)):
            if moment.tzinfo is None:
                raise ValueError(f"period.{field}: {moment!r} has no time zone; give an aware datetime")
        if self.end < self.start:
            raise ValueError(f"period.end: {self.end} lies before start {self.start}")


@dataclass(frozen=True)
class DetailRow:
    """One step of a line's derivation, usually a tier. `amount` is exact, not rounded to the currency."""

    label: str
    amount: Decimal
    quantity: Decimal | None = None
    unit_price: Decimal | None = None

    def __post_init__(self) -> None:
        _check_decimals((("amount", self.amount), ("quantity", self.quantity), ("unit_price", self.unit_price)))


@dataclass(frozen=True)
class DocumentLine:
    """One invoice line. `amount` is rounded to the currency; `unit_price` is text (`price_text`: "$4.75 per 50")."""

    description: str
    amount: Decimal
    quantity: Decimal | None = None
    unit_price: str = ""
    period: Period | None = None
    details: tuple[DetailRow, ...] = ()

    def __post_init__(self) -> None:
        _check_decimals((("amount", self.amount), ("quantity", self.quantity)))


@dataclass(frozen=True)
class TaxRow:
    """One tax rate: label ("GST 18%"), what it was taken on, and the tax. An inclusive tax lies within the lines."""

    label: str
    base: Decimal
    amount: Decimal
    inclusive: bool = False

    def __post_init__(self) -> None:
        _check_decimals((("base", self.base), ("amount", self.amount)))


@dataclass(frozen=True)
class InvoiceDocument:
    """Everything an invoice shows, as it stood at issue; payments made later are on receipts.

    `discount` and `credits` are positive and shown as deductions. `zone` is the customer's IANA zone, in which
    periods are shown. `currency` is a lower-case ISO 4217 code. Raises ValueError, TypeError or Invalid naming the
    field, if a value is of the wrong kind or the sums do not hold (billing-rules.md section 6). `daily_usage` has one
    quantity for each day of the chart, in `usage_unit`; empty means no chart.
    """

    number: str
    issued_on: date
    due_on: date
    seller: Party
    buyer: Party
    currency: str
    zone: str
    lines: tuple[DocumentLine, ...]
    subtotal: Decimal
    total: Decimal
    amount_due: Decimal
    period: Period | None = None
    discount: Decimal = ZERO
    taxes: tuple[TaxRow, ...] = ()
    credits: Decimal = ZERO
    notes: tuple[str, ...] = ()
    daily_usage: tuple[tuple[date, Decimal], ...] = ()
    usage_title: str = "Daily usage"
    usage_unit: str = ""
    paper: Paper = "a4"

    def __post_init__(self) -> None:
        names = ("subtotal", "total", "amount_due", "discount", "credits")
        _check_decimals((name, getattr(self, name)) for name in names)
        _check_decimals((f"daily_usage[{day}]", value) for day, value in self.daily_usage)
        _check_zone(self.zone)
        for name in names:
            _check_currency_digits(name, getattr(self, name), self.currency)
        for index, line in enumerate(self.lines):
            _check_currency_digits(f"lines[{index}].amount", line.amount, self.currency)
        self._check_sums()

    def _check_sums(self) -> None:
        lines = money.total(line.amount for line in self.lines)
        if lines != self.subtotal:
            raise ValueError(f"subtotal: {self.subtotal} is not the sum of the lines, {lines}")
        taxes = money.total(tax.amount for tax in self.taxes if not tax.inclusive)
        reductions = money.total((self.discount, self.credits))
        expected = max(ZERO, money.minus(money.total((self.subtotal, taxes)), reductions))
        if self.total != expected:
            raise ValueError(
                f"total: {self.total} is not subtotal {self.subtotal} - discount {self.discount} "
                f"+ taxes {taxes} - credits {self.credits} = {expected}"
            )


@dataclass(frozen=True)
class ReceiptDocument:
    """Everything a receipt shows: one payment that succeeded, and the invoice it was for.

    `method` is text ("Visa ending in 4242"). `paid_at` is an aware instant, shown in `zone`. `amount_remaining` is what
    the invoice still asks for after this payment.
    """

    number: str
    invoice_number: str
    payment_id: str
    method: str
    paid_at: datetime
    seller: Party
    buyer: Party
    currency: str
    zone: str
    amount_paid: Decimal
    invoice_total: Decimal
    amount_remaining: Decimal = ZERO
    notes: tuple[str, ...] = ()
    paper: Paper = "a4"

    def __post_init__(self) -> None:
        _check_zone(self.zone)
        if self.paid_at.tzinfo is None:
            raise ValueError(f"paid_at: {self.paid_at!r} has no time zone; give an aware datetime")
        for name in ("amount_paid", "invoice_total", "amount_remaining"):
            _check_decimals(((name, getattr(self, name)),))
            _check_currency_digits(name, getattr(self, name), self.currency)


@dataclass(frozen=True)
class CreditNoteDocument:
    """Everything a credit note shows: what of an invoice is credited, line by line, and what becomes of it.

    `effect` says that in words; `tax` is inside `total`. Raises ValueError, TypeError or Invalid naming the field, if a
    value is of the wrong kind or the lines do not add up.
    """

    number: str
    invoice_number: str
    issued_on: date
    invoice_issued_on: date
    effect: str
    seller: Party
    buyer: Party
    currency: str
    zone: str
    lines: tuple[DocumentLine, ...]
    total: Decimal
    tax: Decimal = ZERO
    notes: tuple[str, ...] = ()
    paper: Paper = "a4"

    def __post_init__(self) -> None:
        _check_decimals((("total", self.total), ("tax", self.tax)))
        _check_zone(self.zone)
        for name in ("total", "tax"):
            _check_currency_digits(name, getattr(self, name), self.currency)
        lines = money.total(line.amount for line in self.lines)
        if lines != self.total:
            raise ValueError(f"total: {self.total} is not the sum of the lines, {lines}")


def _check_decimals(values: Iterable[tuple[str, Decimal | None]]) -> None:
    for field, value in values:
        if value is None:
            continue
        if not isinstance(value, Decimal):
            raise TypeError(f"{field}: {value!r} is a {type(value).__name__}; amounts and quantities are Decimal")
        if not value.is_finite():
            raise ValueError(f"{field}: {value} is not a finite number")


def _check_currency_digits(field: str, amount: Decimal, currency: str) -> None:
    if not money.is_rounded(amount, currency):
        raise ValueError(f"{field}: {amount} has more than the {money.exponent(currency)} decimals of {currency}")


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"zone: {zone!r} is not an IANA time zone such as Europe/Paris") from error
