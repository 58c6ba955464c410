"""Invoices: from what is due to lines, discounts, tax and totals, each with its derivation.

Owns the whole invoice, its laws and its verification. The order of the sum is in billing.invoice_steps, states are in
billing.invoice_states. The same pipeline serves the draft (usage not yet known), the finalized invoice, previews and
`verify`: same inputs, same result. Rules: billing-rules.md sections 1 and 6.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from msgspec import Struct

from billing.codec import instant_text, to_json
from billing.coupons import CouponAssociation, Discount
from billing.errors import InvariantBroken
from billing.invoice_lines import NOTHING_CARRIED, PeriodCorrection, Workings
from billing.invoice_lines import CarriedCredit as CarriedCredit
from billing.invoice_lines import Derivation as Derivation
from billing.invoice_lines import InvoiceInputs as InvoiceInputs
from billing.invoice_lines import InvoiceLine as InvoiceLine
from billing.invoice_states import InvoiceStatus
from billing.invoice_steps import RATING, SETTLING
from billing.late_usage import add_corrections
from billing.money import ZERO, minus, negated, round_amount, total
from billing.periods import Period
from billing.prices import InvoiceCadence
from billing.taxes import TaxAmount
from billing.terms import BilledLine, BillingReason, DueInvoice, LineKind, Terms
from billing.wallets import CreditDraw

STEPS: Final = (*RATING, add_corrections, *SETTLING)
"""The sum of an invoice, in the one order that there is."""


class Invoice(Struct, frozen=True):
    """A computed invoice: DRAFT, or SKIPPED when it has no line. Its sums are checked whenever one is made or read.

    subtotal = sum of lines >= 0; total = subtotal - total_discount + exclusive taxes - prepaid credits >= 0.
    `total_tax` also shows inclusive taxes, which the total contains already. `discounts` are in order of application.
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
    carried: CarriedCredit = NOTHING_CARRIED
    discounts: tuple[Discount, ...] = ()
    total_prepaid_credits_applied: Decimal = ZERO
    credit_draws: tuple[CreditDraw, ...] = ()

    def __post_init__(self) -> None:
        credits = self.total_prepaid_credits_applied
        laws = {
            "subtotal is the sum of the lines": self.subtotal == total(line.amount for line in self.lines),
            "subtotal is not negative": self.subtotal >= 0,
            "total_discount is the sum of the discounts": self.total_discount
            == total(discount.amount for discount in self.discounts),
            "the lines' discounts add up": total(line.discount for line in self.lines) == self.total_discount,
            "total_tax is the sum of the taxes": self.total_tax == total(tax.amount for tax in self.taxes),
            "total is subtotal - total_discount + exclusive tax - prepaid credits": self.total
            == total((self.subtotal, negated(self.total_discount), self.exclusive_tax, negated(credits))),
            "the total is not negative": self.total >= 0,
            "prepaid credits are the sum of the draws": credits == total(draw.amount for draw in self.credit_draws),
            "the lines' credits add up": credits == total(line.prepaid_credits for line in self.lines),
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


def draft_inputs(
    terms: Terms,
    due: DueInvoice,
    coupons: tuple[CouponAssociation, ...] = (),
    corrections: tuple[PeriodCorrection, ...] = (),
) -> InvoiceInputs:
    """What a draft for `due` fixes: tax rates and coupons as of its boundary, and where its usage is cut."""
    return InvoiceInputs(
        currency=terms.currency,
        due=due,
        tax_rates=terms.tax_rates,
        coupons=coupons,
        line_tax_rates=terms.line_tax_rates,
        corrections=corrections,
        anchor=terms.anchor,
    )


def build_invoice(inputs: InvoiceInputs) -> Invoice:
    """The invoice that follows from `inputs`. Usage lines without a snapshot count 0, as in a draft."""
    done = Workings()
    for step in STEPS:
        done = step(done, inputs)
    subtotal = total(line.amount for line in done.lines)
    exclusive = total(tax.amount for tax in done.taxes if not tax.rate.inclusive)
    discount = total(one.amount for one in done.discounts)
    credits = round_amount(total(draw.amount for draw in done.draws), inputs.currency)
    amount = total((subtotal, negated(discount), exclusive, negated(credits)))
    return Invoice(
        reason=inputs.due.reason,
        currency=inputs.currency,
        period=inputs.due.period,
        status=InvoiceStatus.DRAFT if done.lines else InvoiceStatus.SKIPPED,
        lines=done.lines,
        taxes=done.taxes,
        subtotal=subtotal,
        total_discount=discount,
        total_tax=total(tax.amount for tax in done.taxes),
        total=amount,
        amount_due=amount,
        carried=done.carried,
        discounts=done.discounts,
        total_prepaid_credits_applied=credits,
        credit_draws=done.draws,
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


def is_deferred(line: InvoiceLine) -> bool:
    """Whether a line is earned only when its period ends: fixed, in advance, over a span of time. These get credits."""
    price = line.derivation.price
    in_advance = price is not None and price.invoice_cadence is InvoiceCadence.ADVANCE
    charged = line.kind in (LineKind.fixed, LineKind.proration_charge)
    return charged and in_advance and line.period.microseconds > 0


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
        amount=line.net_amount,
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


def payable_until(due_date: datetime | None, finalized_at: datetime) -> datetime:
    """By when an invoice is to be paid, as its document says: not before the customer has it."""
    return finalized_at if due_date is None else max(due_date, finalized_at)


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
