"""Invoices: from what is due to lines, tax and totals, each with its derivation.

Owns the order of the sum (`STEPS`) and what an invoice line remembers. States are in billing.invoice_states. The same
pipeline serves the draft (usage not yet known), the finalized invoice, previews and `verify`: same inputs, same result.
Rules: billing-rules.md sections 1 and 6.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

from billing.codec import instant_text, to_json
from billing.errors import InvariantBroken
from billing.invoice_states import InvoiceStatus
from billing.meters import UsageSnapshot
from billing.money import ZERO, allocate, apportion, minus, negated, round_amount, shown_decimal, total
from billing.periods import Period
from billing.prices import InvoiceCadence, Price, Rating, RatingStep, rate
from billing.taxes import TaxAmount, TaxRate, TaxRateType, exact_tax, tax_amounts
from billing.terms import BilledLine, BillingReason, DueInvoice, DueLine, LineKind


@dataclass(frozen=True, slots=True)
class InvoiceInputs:
    """Everything an invoice follows from. `usage` is matched to lines by meter and period; a draft may lack it."""

    currency: str
    due: DueInvoice
    tax_rates: tuple[TaxRate, ...] = ()
    usage: tuple[UsageSnapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a line's amount came about: `rated` (the sum of `steps`) x `share` = `exact`, rounded once to the amount.

    `quantity` is what was rated, exactly. `nominal` is the whole period of which `share` is a part. For a credit,
    `rated` is what `credit_of` billed and `exact` is negative, at most what was left to credit.
    """

    quantity: Fraction
    rated: Fraction
    share: Fraction
    exact: Fraction
    steps: tuple[RatingStep, ...] = ()
    price: Price | None = None
    nominal: Period | None = None
    usage: UsageSnapshot | None = None
    credit_of: BilledLine | None = None


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line. `amount` (major units) contains the line's part of inclusive taxes, not of exclusive ones.

    `taxable` is the line's part of the tax base; the two taxes are its parts of the invoice's taxes.
    """

    kind: LineKind
    display_name: str
    currency: str
    period: Period
    quantity: Decimal
    amount: Decimal
    derivation: Derivation
    line_item_id: str | None = None
    price_id: str | None = None
    taxable: Decimal = ZERO
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class CarriedCredit:
    """Credit beyond the invoice's charges, which goes to the customer's balance: `amount` plus `exclusive_tax`.

    `inclusive_tax` is the tax inside `amount`; both taxes are parts of what the credited lines were billed with.
    """

    amount: Decimal = ZERO
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO

    @property
    def to_customer(self) -> Decimal:
        """What the customer gets."""
        return total((self.amount, self.exclusive_tax))


@dataclass(frozen=True, slots=True)
class Invoice:
    """A computed invoice: DRAFT, or SKIPPED when it has no line. Its sums are checked whenever one is made or read.

    subtotal = sum of lines >= 0; total = subtotal - total_discount + exclusive taxes. `total_tax` also shows inclusive
    taxes, which the total contains already.
    """

    reason: BillingReason
    currency: str
    period: Period
    status: InvoiceStatus
    lines: tuple[InvoiceLine, ...]
    taxes: tuple[TaxAmount, ...]
    subtotal: Decimal
    total_discount: Decimal
    total_tax: Decimal
    total: Decimal
    amount_due: Decimal
    carried: CarriedCredit = CarriedCredit()

    def __post_init__(self) -> None:
        laws = {
            "subtotal is the sum of the lines": self.subtotal == total(line.amount for line in self.lines),
            "subtotal is not negative": self.subtotal >= 0,
            "total_tax is the sum of the taxes": self.total_tax == total(tax.amount for tax in self.taxes),
            "total is subtotal - total_discount + exclusive tax": self.total
            == total((self.subtotal, negated(self.total_discount), self.exclusive_tax)),
            "the lines' taxes add up": total(line.exclusive_tax for line in self.lines) == self.exclusive_tax
            and total(line.inclusive_tax for line in self.lines) == minus(self.total_tax, self.exclusive_tax),
            "only an invoice without lines is SKIPPED": (self.status is InvoiceStatus.SKIPPED) == (not self.lines),
        }
        broken = [law for law, holds in laws.items() if not holds]
        if broken:
            raise InvariantBroken(f"an invoice does not add up: {'; '.join(broken)}", details={"laws": broken})

    @property
    def exclusive_tax(self) -> Decimal:
        """Tax on top of the subtotal."""
        return total(tax.amount for tax in self.taxes if not tax.rate.inclusive)

    @property
    def awaits_usage(self) -> bool:
        """Whether a usage line has no snapshot yet."""
        return any(line.kind is LineKind.usage and line.derivation.usage is None for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Sum:
    """The invoice while the steps work on it."""

    lines: tuple[InvoiceLine, ...] = ()
    taxes: tuple[TaxAmount, ...] = ()
    carried: CarriedCredit = CarriedCredit()


def build_invoice(inputs: InvoiceInputs) -> Invoice:
    """The invoice that follows from `inputs`. Usage lines without a snapshot count 0, as in a draft."""
    done = _Sum()
    for step in STEPS:
        done = step(done, inputs)
    subtotal = total(line.amount for line in done.lines)
    exclusive = total(tax.amount for tax in done.taxes if not tax.rate.inclusive)
    amount = total((subtotal, exclusive))
    return Invoice(
        reason=inputs.due.reason,
        currency=inputs.currency,
        period=inputs.due.period,
        status=InvoiceStatus.DRAFT if done.lines else InvoiceStatus.SKIPPED,
        lines=done.lines,
        taxes=done.taxes,
        subtotal=subtotal,
        total_discount=ZERO,
        total_tax=total(tax.amount for tax in done.taxes),
        total=amount,
        amount_due=amount,
        carried=done.carried,
    )


def build_final_invoice(inputs: InvoiceInputs) -> Invoice:
    """The same, for finalizing: raises InvariantBroken if the usage of any line is missing, never a short invoice."""
    invoice = build_invoice(inputs)
    for line in invoice.lines:
        if line.kind is LineKind.usage and line.derivation.usage is None:
            span = f"{instant_text(line.period.start)} to {instant_text(line.period.end)}"
            raise InvariantBroken(
                f"the usage of line {line.line_item_id} ({line.display_name}) from {span} is missing",
                details={"line_item_id": line.line_item_id, "price_id": line.price_id},
            )
    return invoice


def verify(inputs: InvoiceInputs, stored: Invoice) -> tuple[str, ...]:
    """Recomputes an invoice from its stored inputs; the differences, to the last digit; () when it is right."""
    return tuple(_differences(to_json(build_final_invoice(inputs)), to_json(stored), ""))


def rate_lines(done: _Sum, inputs: InvoiceInputs) -> _Sum:
    """Each due line at its price, times its share of the period, rounded once."""
    snapshots = {(usage.meter_id, usage.period): usage for usage in inputs.usage}
    lines = []
    for due in inputs.due.lines:
        if due.credit_of is not None:
            lines.append(_credit_line(due, due.credit_of, inputs.currency))
        else:
            usage = snapshots.get((due.price.meter_id or "", due.period)) if due.kind is LineKind.usage else None
            lines.append(_rated_line(due, usage, inputs.currency))
    return replace(done, lines=tuple(lines))


def carry_excess_credit(done: _Sum, inputs: InvoiceInputs) -> _Sum:
    """Credits beyond the charges: an adjustment line raises the subtotal to 0, the customer's balance gets the rest."""
    excess = negated(total(line.amount for line in done.lines))
    if excess <= 0:
        return replace(done, lines=tuple(replace(line, taxable=line.amount) for line in done.lines))
    credits = [line for line in done.lines if line.kind is LineKind.proration_credit]
    parts = iter(allocate(excess, [negated(line.amount) for line in credits], inputs.currency))
    lines = []
    exclusive = inclusive = Fraction(0)
    for line in done.lines:
        billed = line.derivation.credit_of
        part = next(parts) if billed is not None else ZERO
        if billed is not None and billed.amount:
            exclusive += Fraction(part) * Fraction(billed.exclusive_tax) / Fraction(billed.amount)
            inclusive += Fraction(part) * Fraction(billed.inclusive_tax) / Fraction(billed.amount)
        lines.append(replace(line, taxable=total((line.amount, part))))
    carried = CarriedCredit(excess, round_amount(exclusive, inputs.currency), round_amount(inclusive, inputs.currency))
    return replace(done, lines=(*lines, _carry_line(carried, inputs)), carried=carried)


def apply_taxes(done: _Sum, inputs: InvoiceInputs) -> _Sum:
    """Each rate once on the subtotal, then shared out to the lines so that credits can take back what was billed."""
    base = total(line.amount for line in done.lines)
    taxes = tax_amounts(base, inputs.tax_rates, inputs.currency)
    lines = list(done.lines)
    for tax in taxes:
        shares = [_line_tax(Fraction(line.taxable), Fraction(base), tax.rate, inputs.tax_rates) for line in lines]
        for index, part in enumerate(apportion(tax.amount, shares, inputs.currency)):
            line = lines[index]
            if tax.rate.inclusive:
                lines[index] = replace(line, inclusive_tax=total((line.inclusive_tax, part)))
            else:
                lines[index] = replace(line, exclusive_tax=total((line.exclusive_tax, part)))
    return replace(done, lines=tuple(lines), taxes=taxes)


# Credits are lines and so shrink the tax base. Discounts will stand before the taxes, which they shrink too; prepaid
# credits after them, since credits never pay less tax.
STEPS: Final[tuple[Callable[[_Sum, InvoiceInputs], _Sum], ...]] = (rate_lines, carry_excess_credit, apply_taxes)


def is_deferred(line: InvoiceLine) -> bool:
    """Whether a line is earned only when its period ends: fixed, in advance, over a span of time. These get credits."""
    price = line.derivation.price
    in_advance = price is not None and price.invoice_cadence is InvoiceCadence.ADVANCE
    return line.kind is LineKind.fixed and in_advance and line.period.microseconds > 0


def billed_line(invoice_id: str, invoice_line_id: str, line: InvoiceLine, credited: Decimal) -> BilledLine:
    """A deferred line as `cancel` and `close_period` need it; `credited` (positive) was credited of it before."""
    price = line.derivation.price
    if price is None or not is_deferred(line):
        raise InvariantBroken(f"line {invoice_line_id} was not billed in advance and cannot be credited")
    return BilledLine(
        invoice_id=invoice_id,
        invoice_line_id=invoice_line_id,
        line_item_id=line.line_item_id or "",
        price=price,
        quantity=line.quantity,
        period=line.period,
        amount=line.amount,
        exclusive_tax=line.exclusive_tax,
        inclusive_tax=line.inclusive_tax,
        credited=credited,
    )


def invoice_number(sequence: int, finalized_at: datetime) -> str:
    """INV-YYYYMM-00001: the UTC month of finalizing and the number within it, from 1."""
    return f"INV-{finalized_at:%Y%m}-{sequence:05d}"


def due_at(period_end: datetime, due_date_days: int) -> datetime:
    """When payment is due: the period's end plus the terms, in days of 24 hours."""
    return period_end + timedelta(days=due_date_days)


def _rated_line(due: DueLine, usage: UsageSnapshot | None, currency: str) -> InvoiceLine:
    quantity = due.quantity if usage is None else usage.usage.quantity
    rating: Rating = rate(due.price, quantity)
    exact = rating.amount * due.share
    derivation = Derivation(
        quantity=Fraction(quantity),
        rated=rating.amount,
        share=due.share,
        exact=exact,
        steps=rating.steps,
        price=due.price,
        nominal=due.nominal,
        usage=usage,
    )
    return _line(due, due.price.display_name, quantity, exact, derivation, currency)


def _credit_line(due: DueLine, billed: BilledLine, currency: str) -> InvoiceLine:
    rated = Fraction(billed.amount)
    exact = -min(rated * due.share, Fraction(minus(billed.amount, billed.credited)))
    derivation = Derivation(
        quantity=Fraction(billed.quantity),
        rated=rated,
        share=due.share,
        exact=exact,
        price=due.price,
        nominal=due.nominal,
        credit_of=billed,
    )
    return _line(due, f"Unused time: {due.price.display_name}", billed.quantity, exact, derivation, currency)


def _line(
    due: DueLine, display_name: str, quantity: Decimal, exact: Fraction, derivation: Derivation, currency: str
) -> InvoiceLine:
    return InvoiceLine(
        kind=due.kind,
        display_name=display_name,
        currency=currency,
        period=due.period,
        quantity=shown_decimal(quantity),
        amount=round_amount(exact, currency),
        derivation=derivation,
        line_item_id=due.line_item_id,
        price_id=due.price.id,
    )


def _carry_line(carried: CarriedCredit, inputs: InvoiceInputs) -> InvoiceLine:
    exact = Fraction(carried.amount)
    return InvoiceLine(
        kind=LineKind.adjustment,
        display_name="Credit carried to the customer's balance",
        currency=inputs.currency,
        period=Period(inputs.due.at, inputs.due.at),
        quantity=Decimal(1),
        amount=carried.amount,
        derivation=Derivation(quantity=Fraction(1), rated=exact, share=Fraction(1), exact=exact),
    )


def _line_tax(taxable: Fraction, base: Fraction, tax_rate: TaxRate, rates: tuple[TaxRate, ...]) -> Fraction:
    if tax_rate.type is TaxRateType.fixed:
        return Fraction(tax_rate.value) * taxable / base if base > 0 else Fraction(0)
    return exact_tax(taxable, tax_rate, rates)


def _differences(expected: object, got: object, path: str) -> list[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        keys = sorted(set(expected) | set(got))
        return [
            text for key in keys for text in _differences(expected.get(key), got.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [text for index, (left, right) in pairs for text in _differences(left, right, f"{path}[{index}]")]
    return [] if expected == got else [f"{path}: expected {expected!r}, stored {got!r}"]
