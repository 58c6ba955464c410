"""The sum of an invoice, step by step, in the one order that there is.

Owns the steps; billing.invoices puts the corrections of earlier periods between their two groups. Each takes what is
done and the inputs and returns what is done. Rules: billing-rules.md section 6.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import structs

from billing.billed_usage import bill_the_rest
from billing.commitment_lines import apply_commitments
from billing.coupons import DiscountBase, discounts
from billing.errors import Invalid
from billing.invoice_lines import (
    CarriedCredit,
    Derivation,
    InvoiceInputs,
    InvoiceLine,
    LineDiscount,
    Workings,
    credited_charge,
)
from billing.money import (
    NOTHING,
    WHOLE,
    ZERO,
    Number,
    allocate,
    minus,
    negated,
    round_amount,
    shown_decimal,
    total,
)
from billing.periods import Period
from billing.taxes import TaxBase, TaxRate, shared_taxes
from billing.terms import BilledLine, DueLine, LineKind
from billing.usage_lines import RatedUsage, rate_fixed, rate_usage
from billing.wallets import AllowedPriceTypes, WalletType, draw_for_invoice

DISCOUNTED: Final = frozenset(
    {LineKind.fixed, LineKind.usage, LineKind.overage, LineKind.true_up, LineKind.proration_charge}
)
"""Kinds of lines that are charges: coupons lower them and credits pay them."""


def rate_lines(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Each due line at its price, usage less its allowance, times its share of the period, rounded once."""
    usage = rate_usage(inputs)
    lines = []
    for place, due in enumerate(inputs.due.lines):
        if due.credit_of is not None:
            lines.append(_credit_line(due, due.credit_of, inputs.currency))
        else:
            rated = usage.get(place) or rate_fixed(due.price, due.quantity)
            lines.append(_rated_line(due, rated, inputs.currency))
    return structs.replace(done, lines=tuple(lines))


def apply_coupons(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Line coupons on the original amounts, then invoice coupons on the running total; credits take none."""
    if not inputs.coupons:
        return done
    bases = [DiscountBase(line.line_item_id, discountable(line), line.period.start) for line in done.lines]
    found = discounts(bases, inputs.coupons, inputs.currency)
    lines = []
    for index, line in enumerate(done.lines):
        own = [LineDiscount(one.association_id, one.coupon.name, one.parts[index]) for one in found if one.parts[index]]
        lines.append(structs.replace(line, discounts=tuple(own)))
    return structs.replace(done, lines=tuple(lines), discounts=found)


def carry_excess_credit(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Credits beyond the charges net of discounts: an adjustment line makes them 0, the customer gets the rest.

    Credits beyond the charges of the same tax rates lower what is due, but no other rate's base: the customer gets the
    exclusive tax that they were billed with.
    """
    net = [line.net_amount for line in done.lines]
    taxable = list(net)
    exclusive = inclusive = NOTHING
    for places in _by_rates(done.lines, inputs):
        surplus = negated(total(taxable[place] for place in places))
        if surplus <= 0:
            continue
        found = [(place, credited_charge(done.lines[place])) for place in places if done.lines[place].amount < 0]
        credits = [(place, billed) for place, billed in found if billed is not None]
        weights = [negated(done.lines[place].amount) for place, _ in credits]
        for (place, billed), part in zip(credits, allocate(surplus, weights, inputs.currency), strict=True):
            taxable[place] = total((taxable[place], part))
            exclusive += Fraction(part) * Fraction(billed.exclusive_tax) / Fraction(billed.amount)
            inclusive += Fraction(part) * Fraction(billed.inclusive_tax) / Fraction(billed.amount)
    excess = max(negated(total(net)), ZERO)
    carried = CarriedCredit(excess, round_amount(exclusive, inputs.currency), round_amount(inclusive, inputs.currency))
    if not excess:
        return structs.replace(done, taxable=tuple(taxable), carried=carried)
    lines = (*done.lines, _carry_line(carried, inputs))
    return structs.replace(done, lines=lines, taxable=(*taxable, ZERO), carried=carried)


def apply_taxes(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Each rate once on its lines net of discounts, then shared out to them, and credits can take their part back."""
    shared = shared_taxes(tax_bases(done.lines, done.taxable, inputs), inputs.currency)
    exclusive = _by_line([one.parts for one in shared if not one.tax.rate.inclusive], len(done.lines))
    inclusive = _by_line([one.parts for one in shared if one.tax.rate.inclusive], len(done.lines))
    lines = tuple(
        structs.replace(line, taxable=taxable, exclusive_tax=added, inclusive_tax=contained)
        for line, taxable, added, contained in zip(done.lines, done.taxable, exclusive, inclusive, strict=True)
    )
    return structs.replace(done, lines=lines, taxes=tuple(one.tax for one in shared))


def apply_credits(done: Workings, inputs: InvoiceInputs) -> Workings:
    """Prepaid credits pay lines net of discounts, in order, never tax: at most what the invoice asks for without it."""
    wallet = inputs.wallet
    if wallet is None:
        return done
    if wallet.wallet_type is not WalletType.PRE_PAID or wallet.currency != inputs.currency:
        raise Invalid(f"wallet {wallet.id} must be PRE_PAID and in {inputs.currency}", field="wallet")
    asked = [minus(line.net_amount, line.inclusive_tax) for line in done.lines]
    columns = zip(done.lines, asked, strict=True)
    payable = [_payable(line, worth, wallet.allowed_price_types) for line, worth in columns]
    most = max(min(total(payable), total(asked)), ZERO)
    draws = draw_for_invoice(wallet, most, inputs.due.period.end)
    left = round_amount(total(draw.amount for draw in draws), inputs.currency)
    lines = []
    for line, own in zip(done.lines, payable, strict=True):
        paid = max(min(own, left), ZERO)
        left = minus(left, paid)
        lines.append(structs.replace(line, prepaid_credits=paid) if paid else line)
    return structs.replace(done, lines=tuple(lines), draws=draws)


Step = Callable[[Workings, InvoiceInputs], Workings]

RATING: Final[tuple[Step, ...]] = (rate_lines, apply_commitments, bill_the_rest)
"""What a period's own lines follow from."""
# Proration credits are lines and so shrink the tax base, as discounts do; prepaid credits never do.
SETTLING: Final[tuple[Step, ...]] = (apply_coupons, carry_excess_credit, apply_taxes, apply_credits)
"""What follows from all lines together."""


def discountable(line: InvoiceLine) -> Decimal:
    """What coupons may lower: charges. Credits were discounted when they were billed."""
    return max(line.amount, ZERO) if line.kind in DISCOUNTED else ZERO


def tax_bases(lines: Sequence[InvoiceLine], taxable: Sequence[Decimal], inputs: InvoiceInputs) -> list[TaxBase]:
    """What each line, of which `taxable` is taxed, adds to the bases of its tax rates."""
    return [TaxBase(*both) for both in zip(taxable, _rates_of(lines, inputs), strict=True)]


def _payable(line: InvoiceLine, asked: Decimal, allowed: AllowedPriceTypes) -> Decimal:
    """What a wallet may pay of what a line asks for, net of discounts and the tax inside: of charges of allowed types.

    Late usage is usage: what is credited of it pays other usage before a wallet does.
    """
    if line.derivation.correction is not None:
        return ZERO if allowed is AllowedPriceTypes.FIXED else asked
    fixed = line.kind in (LineKind.fixed, LineKind.proration_charge)
    kind = AllowedPriceTypes.FIXED if fixed else AllowedPriceTypes.USAGE
    if line.kind not in DISCOUNTED or allowed not in (AllowedPriceTypes.ALL, kind):
        return ZERO
    return max(asked, ZERO)


def _rated_line(due: DueLine, rated: RatedUsage, currency: str) -> InvoiceLine:
    exact = rated.rated if due.share == 1 else rated.rated * due.share
    derivation = Derivation(
        quantity=rated.quantity,
        rated=rated.rated,
        share=due.share,
        exact=exact,
        steps=rated.steps,
        price=due.price,
        nominal=due.nominal,
        usage=rated.usage,
        parts=rated.parts,
        uncapped=rated.uncapped,
        time_buckets=rated.time_buckets,
    )
    return _line(due, due.price.display_name, rated.quantity, exact, derivation, currency)


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
    due: DueLine, display_name: str, quantity: Number, exact: Fraction, derivation: Derivation, currency: str
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
        price_id=None if due.kind is LineKind.credits else due.price.id,
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
        derivation=Derivation(quantity=WHOLE, rated=exact, share=WHOLE, exact=exact),
    )


def _by_line(taxes: Sequence[Sequence[Decimal]], lines: int) -> list[Decimal]:
    """The parts of `taxes` that each of the `lines` bears, together."""
    return [total(own) for own in zip(*taxes, strict=True)] if taxes else [ZERO] * lines


def _rates_of(lines: Sequence[InvoiceLine], inputs: InvoiceInputs) -> list[tuple[TaxRate, ...]]:
    """The rates of each line: its line item's own, else the invoice's."""
    if not inputs.line_tax_rates:
        return [inputs.tax_rates] * len(lines)
    own = {one.line_item_id: one.rates for one in inputs.line_tax_rates}
    return [own.get(line.line_item_id or "", inputs.tax_rates) for line in lines]


def _by_rates(lines: Sequence[InvoiceLine], inputs: InvoiceInputs) -> list[list[int]]:
    """The places of the lines, those with the same rates together."""
    if not inputs.line_tax_rates:
        return [list(range(len(lines)))]
    found: dict[tuple[TaxRate, ...], list[int]] = {}
    for place, rates in enumerate(_rates_of(lines, inputs)):
        found.setdefault(rates, []).append(place)
    return list(found.values())
