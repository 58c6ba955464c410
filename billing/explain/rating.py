"""The price in an explanation: tier by tier, bucket by bucket, and what the price's maximum cuts off."""

from decimal import Decimal
from fractions import Fraction

from billing.errors import InvariantBroken
from billing.explain.parts import Figure, Part, Section
from billing.explain.usage import part_name
from billing.explain.wording import exact, money
from billing.invoice_lines import Derivation, InvoiceLine
from billing.money import decimal_text, exponent, round_amount
from billing.prices import BillingModel, Price, RatingStep, RoundMode, TierMode


def rating_section(derivation: Derivation, zone: str) -> Section:
    """Every step of the rating; they add up to what was rated."""
    price = derivation.price
    if price is None:
        raise InvariantBroken("a line that is rated must have a price")
    steps = [_part(price, step) for step in derivation.steps]
    for bucket in derivation.parts:
        own = None if bucket.time_bucket is None else derivation.time_buckets[bucket.time_bucket].price
        steps += [_part(own or price, step, f"{part_name(bucket, zone)}: ") for step in bucket.steps]
    whole = derivation.rated if derivation.uncapped is None else derivation.uncapped
    if not steps and whole:
        steps.append(Part("the whole line", "as on the line up to the commitment", whole, ()))
    closing: tuple[str, ...] = ()
    if len(steps) > 1:
        closing = (f"sum: {' + '.join(exact(step.amount) for step in steps)} = {exact(whole)}",)
    others = [f"{one.hours}: {_charged(one.price)}" for one in derivation.time_buckets if one.price is not None]
    return Section(Figure.amount, (_model(price, derivation), *others), tuple(steps), closing)


def cap_section(derivation: Derivation) -> Section:
    """What the price's maximum for a period takes off."""
    uncapped, rated = derivation.uncapped, derivation.rated
    if uncapped is None:
        return Section(Figure.amount)
    words = f"the price's maximum for a period cuts {exact(uncapped)} to {exact(rated)}"
    return Section(Figure.amount, parts=(Part("beyond the price's maximum", "", rated - uncapped, (words,)),))


def _model(price: Price, derivation: Derivation) -> str:
    text, quantity = f"price: {_charged(price)}", exact(derivation.quantity)
    packaging = price.transform_quantity
    if packaging is None:
        return f"{text}; quantity {quantity}"
    rounding = "a started package counts" if packaging.round is RoundMode.up else "only full packages count"
    packages = exact(derivation.quantity / packaging.divide_by)
    return f"{text}; {quantity} / {packaging.divide_by} = {packages}, {rounding}"


def _charged(price: Price) -> str:
    """What a price charges, in words."""
    amount = f"{decimal_text(price.amount or Decimal(0))} {price.currency}"
    if price.billing_model is BillingModel.FLAT_FEE:
        return f"{amount} a unit"
    if price.transform_quantity is not None:
        return f"{amount} a package of {price.transform_quantity.divide_by}"
    how = "each unit in its own tier" if price.tier_mode is TierMode.SLAB else "all units at the tier reached"
    return f"{len(price.tiers)} tiers, {how}"


def _part(price: Price, step: RatingStep, prefix: str = "") -> Part:
    how = f"{exact(step.quantity)} x {decimal_text(step.unit_amount)}"
    if step.flat_amount:
        how += f" + {decimal_text(step.flat_amount)} flat"
    tier = "" if step.tier is None else _tier(price, step.tier)
    label = f"{prefix}{tier}".removesuffix(": ")
    words = f"{label}: {how}" if label else how
    return Part(label or "price", how, step.amount, (f"{words} = {exact(step.amount)}",))


def _tier(price: Price, tier: int) -> str:
    floor = price.tiers[tier - 1].up_to if tier else Decimal(0)
    ceiling = price.tiers[tier].up_to
    bounds = f"up to {decimal_text(ceiling)}" if ceiling is not None else "and more"
    return f"tier {tier + 1} (from {decimal_text(floor or Decimal(0))} {bounds})"


def rounding_section(line: InvoiceLine) -> Section:
    """The one rounding of a line."""
    value = line.derivation.exact
    rounded = round_amount(value, line.currency)
    how = f"half away from zero, to {exponent(line.currency)} digits"
    words = f"rounded once, {how}: {exact(value)} -> {money(rounded, line.currency)}"
    difference = Fraction(rounded) - value
    return Section(Figure.amount, (words,), (Part("rounding", how, difference, ()),) if difference else ())
