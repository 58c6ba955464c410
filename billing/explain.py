"""Why this amount: the derivation of a line or an invoice in words and numbers that a finance person can follow.

Owns the words only; every number comes from what was stored with the line. Quantities that do not terminate are shown
with 12 digits, amounts before their rounding exactly as far.
"""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.commitments import CommitmentPart
from billing.coupons import Discount
from billing.invoice_lines import RatedPart
from billing.invoices import Derivation, Invoice, InvoiceLine
from billing.money import ZERO, amount_text, decimal_text, exponent, shown_decimal
from billing.periods import Period, local_days, to_local
from billing.prices import BillingModel, Price, RatingStep, RoundMode, TierMode
from billing.taxes import TaxAmount, TaxRateType
from billing.terms import LineKind


def explain_invoice(invoice: Invoice, zone: str = "UTC") -> list[str]:
    """The whole invoice: each line, the sums, each tax, the total. Dates are shown in `zone`."""
    text = [f"Invoice for {_span(invoice.period, zone)} ({invoice.reason}), {invoice.status}"]
    if not invoice.lines:
        return [*text, "Nothing was due in this period, so there is no charge and no number."]
    for position, line in enumerate(invoice.lines, start=1):
        first, *rest = explain_line(line, zone)
        text += [f"{position}. {first}", *(f"   {part}" for part in rest)]
    text.append(f"Subtotal, the sum of the lines: {_amount(invoice.subtotal, invoice.currency)}")
    text += [_explain_discount(one, invoice.currency) for one in invoice.discounts]
    if len(invoice.discounts) > 1:
        text.append(f"Discounts together: -{_amount(invoice.total_discount, invoice.currency)}")
    text += [_explain_tax(tax, invoice) for tax in invoice.taxes]
    text += [
        f"Credits: {decimal_text(draw.credits)} of lot {draw.lot_id} pay {decimal_text(draw.amount)} {invoice.currency}"
        for draw in invoice.credit_draws
    ]
    text.append(f"Total: {_amount(invoice.total, invoice.currency)}")
    if invoice.carried.amount:
        credit = _amount(invoice.carried.to_customer, invoice.currency)
        tax = _amount(invoice.carried.exclusive_tax, invoice.currency)
        text.append(
            f"To the customer's balance: {credit}, of which {tax} is tax that the credited lines were billed with"
        )
    return text


def explain_line(line: InvoiceLine, zone: str = "UTC") -> list[str]:
    """One line: its amount first, then every step from quantity to rounding."""
    text = [f"{line.display_name}, {_span(line.period, zone)}: {_amount(line.amount, line.currency)}"]
    if line.kind is LineKind.adjustment:
        return [*text, "The credits exceed the charges of this invoice; the rest is carried to the customer's balance."]
    if line.kind is LineKind.proration_credit:
        return text + _explain_credit(line, zone)
    if line.kind is LineKind.true_up and line.derivation.commitment is not None:
        return text + _explain_true_up(line, line.derivation.commitment) + _explain_line_discounts(line)
    return text + _explain_rating(line, zone) + _explain_line_discounts(line)


def _explain_true_up(line: InvoiceLine, part: CommitmentPart) -> list[str]:
    exact = line.derivation.exact
    return [
        f"commitment {_exact(part.whole)}, counted {_exact(part.within)}: {_exact(exact)} is missing",
        _explain_rounding(exact, line),
    ]


def _explain_commitment(line: InvoiceLine) -> list[str]:
    part, exact = line.derivation.commitment, line.derivation.exact
    if part is None:
        return []
    text = f"{_exact(part.within)} of {_exact(part.whole)} counts towards the commitment"
    if part.committed is not None and part.counted is not None:
        text += f" of {decimal_text(part.committed)}, after {decimal_text(part.counted)} before"
    if line.kind is not LineKind.overage:
        return [text]
    beyond = f"({_exact(part.whole)} - {_exact(part.within)})"
    return [text, f"beyond it: {beyond} x {decimal_text(part.factor)} = {_exact(exact)}"]


def _explain_discount(discount: Discount, currency: str) -> str:
    coupon, amount = discount.coupon, _amount(discount.amount, currency)
    if coupon.percentage_off is None:
        worth, base = _amount(coupon.amount_off or ZERO, currency), _amount(discount.base, currency)
        return f"{coupon.name}: {worth} off {base}: -{amount}"
    return f"{coupon.name}: {decimal_text(coupon.percentage_off)} % off {_amount(discount.base, currency)}: -{amount}"


def _explain_line_discounts(line: InvoiceLine) -> list[str]:
    text = [f"discount {part.display_name}: -{_amount(part.amount, line.currency)}" for part in line.discounts]
    if text:
        text.append(f"net of discounts: {_amount(line.net_amount, line.currency)}")
    if line.prepaid_credits:
        text.append(f"paid by credits: {_amount(line.prepaid_credits, line.currency)}")
    return text


def _explain_rating(line: InvoiceLine, zone: str) -> list[str]:
    derivation, text = line.derivation, _explain_usage(line, zone)
    price = derivation.price
    if price is None:
        return text
    text += [_explain_part(part, zone) for part in derivation.parts]
    text.append(_explain_model(price, derivation))
    text += [_explain_step(price, step) for step in derivation.steps]
    for bucket in derivation.parts:
        text += [f"{_span(bucket.period, zone)}: {_explain_step(price, step)}" for step in bucket.steps]
    whole = derivation.rated if derivation.uncapped is None else derivation.uncapped
    amounts = [step.amount for step in (*derivation.steps, *(step for part in derivation.parts for step in part.steps))]
    if len(amounts) > 1:
        text.append(f"sum: {' + '.join(_exact(amount) for amount in amounts)} = {_exact(whole)}")
    if derivation.uncapped is not None:
        text.append(f"the price's maximum for a period cuts {_exact(whole)} to {_exact(derivation.rated)}")
    text += _explain_share(derivation, line.period, zone)
    text += _explain_commitment(line)
    text.append(_explain_rounding(derivation.exact, line))
    return text


def _explain_usage(line: InvoiceLine, zone: str) -> list[str]:
    if line.kind not in (LineKind.usage, LineKind.overage):
        return []
    snapshot = line.derivation.usage
    if snapshot is None:
        return ["usage is not frozen yet; it is counted when the invoice is finalized"]
    usage = snapshot.usage
    text = [
        f"usage: {decimal_text(usage.quantity)} from {usage.event_count} events of meter {snapshot.meter_id}, "
        f"accepted before {_instant(snapshot.cutoff, zone)} (checksum {usage.checksum or 'none'})"
    ]
    if usage.rejected_values:
        text.append(f"{usage.rejected_values} of these events had no usable value and count 0")
    return text


def _explain_part(part: RatedPart, zone: str) -> str:
    group = "" if part.group is None else f" of {part.group or 'no group'}"
    text = f"{_span(part.period, zone)}{group}: {_exact(part.quantity)}"
    if part.window is None:
        return text
    limit = "unlimited" if part.limit is None else f"{_exact(part.limit)} for {_span(part.window, zone)}"
    return f"{text}, less {_exact(part.free)} of the allowance ({limit}) = {_exact(part.quantity - part.free)}"


def _explain_model(price: Price, derivation: Derivation) -> str:
    quantity = _exact(derivation.quantity)
    if price.billing_model is BillingModel.FLAT_FEE:
        return f"price: {decimal_text(price.amount or Decimal(0))} {price.currency} a unit; quantity {quantity}"
    if price.transform_quantity is not None:
        packaging = price.transform_quantity
        rounding = "a started package counts" if packaging.round is RoundMode.up else "only full packages count"
        return (
            f"price: {decimal_text(price.amount or Decimal(0))} {price.currency} a package of {packaging.divide_by}; "
            f"{quantity} / {packaging.divide_by} = {_exact(derivation.quantity / packaging.divide_by)}, {rounding}"
        )
    how = "each unit in its own tier" if price.tier_mode is TierMode.SLAB else "all units at the tier reached"
    return f"price: {len(price.tiers)} tiers, {how}; quantity {quantity}"


def _explain_step(price: Price, step: RatingStep) -> str:
    sum_text = f"{_exact(step.quantity)} x {decimal_text(step.unit_amount)}"
    if step.flat_amount:
        sum_text += f" + {decimal_text(step.flat_amount)} flat"
    sum_text += f" = {_exact(step.amount)}"
    if step.tier is None:
        return sum_text
    floor = price.tiers[step.tier - 1].up_to if step.tier else Decimal(0)
    ceiling = price.tiers[step.tier].up_to
    bounds = f"up to {decimal_text(ceiling)}" if ceiling is not None else "and more"
    return f"tier {step.tier + 1} (from {decimal_text(floor or Decimal(0))} {bounds}): {sum_text}"


def _explain_share(derivation: Derivation, period: Period, zone: str) -> list[str]:
    if derivation.share == 1 or derivation.nominal is None:
        return []
    return [
        f"share of the whole period {_span(derivation.nominal, zone)}: "
        f"{_parts(period, derivation.nominal, derivation.share, zone)} = {_exact(derivation.share)}",
        f"{_exact(derivation.rated)} x {_exact(derivation.share)} = {_exact(derivation.exact)}",
    ]


def _explain_credit(line: InvoiceLine, zone: str) -> list[str]:
    derivation, billed = line.derivation, line.derivation.credit_of
    if billed is None:
        return []
    text = [
        f"billed in advance: {_amount(billed.amount, line.currency)} for {_span(billed.period, zone)} "
        f"(invoice {billed.invoice_id}, line {billed.invoice_line_id})",
        f"unused: {_parts(line.period, billed.period, derivation.share, zone)} = {_exact(derivation.share)}",
        f"-{_exact(derivation.rated)} x {_exact(derivation.share)} = {_exact(-derivation.rated * derivation.share)}",
    ]
    if -derivation.exact != derivation.rated * derivation.share:
        before = _amount(billed.credited, line.currency)
        text.append(f"{before} was credited before, so {_exact(-derivation.exact)} is left to credit")
    text.append(_explain_rounding(derivation.exact, line))
    return text


def _explain_rounding(exact: Fraction, line: InvoiceLine) -> str:
    digits = exponent(line.currency)
    amount = _amount(line.amount, line.currency)
    return f"rounded once, half away from zero, to {digits} digits: {_exact(exact)} -> {amount}"


def _explain_tax(tax: TaxAmount, invoice: Invoice) -> str:
    base, amount = _amount(tax.base, invoice.currency), _amount(tax.amount, invoice.currency)
    if tax.rate.type is TaxRateType.fixed:
        return f"{tax.rate.name}: fixed {amount}"
    percent = decimal_text(tax.rate.value)
    if not tax.rate.inclusive:
        return f"{tax.rate.name}: {percent} % of {base} = {_exact(tax.exact)} -> {amount}"
    return f"{tax.rate.name}: {percent} %, contained in {base}: {_exact(tax.exact)} -> {amount} (not added)"


def _exact(value: Fraction) -> str:
    """A fraction as a decimal: all digits if they end within 12, else the first 12 and an ellipsis."""
    shown = shown_decimal(value)
    return decimal_text(shown) if Fraction(shown) == value else f"{format(shown, 'f')}..."


def _amount(value: Decimal, currency: str) -> str:
    return f"{amount_text(value, currency)} {currency}"


def _parts(part: Period, whole: Period, share: Fraction, zone: str) -> str:
    """What a share was counted in: seconds, or local days where that is what it is."""
    if Fraction(part.microseconds, whole.microseconds) == share:
        return f"{_seconds(part)} of {_seconds(whole)} seconds"
    return f"{local_days(part, zone)} of {local_days(whole, zone)} days"


def _seconds(period: Period) -> str:
    return _exact(Fraction(period.microseconds, 1_000_000))


def _span(period: Period, zone: str) -> str:
    if period.start == period.end:
        return f"at {_instant(period.start, zone)}"
    return f"{_instant(period.start, zone)} to {_instant(period.end, zone)}"


def _instant(value: datetime, zone: str) -> str:
    local = to_local(value, zone)
    return f"{local:%Y-%m-%d}" if local.time() == local.min.time() else f"{local:%Y-%m-%d %H:%M:%S}"
