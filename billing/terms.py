"""What a subscription agreed to, and what falls due from it, as plain values.

Owns the shapes and their checks. Transitions are in billing.subscriptions, the choice of lines in billing.due_lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.commitments import Commitment, check_duration
from billing.entitlements import EffectiveEntitlement
from billing.errors import Invalid
from billing.money import ZERO, decimal_text, exponent, is_rounded
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period, check_utc, zone_info
from billing.prices import Price, PriceType
from billing.taxes import LineTaxRates, TaxRate


class ProrationBehavior(StrEnum):
    """Whether unused time that was paid in advance is credited."""

    none = "none"
    create_prorations = "create_prorations"


class ProrationUnit(StrEnum):
    """What shares of a period are counted in: seconds (exactly: microseconds), or the customer's local days."""

    second = "second"
    day = "day"


class BillingReason(StrEnum):
    """Why an invoice exists."""

    SUBSCRIPTION_CREATE = "SUBSCRIPTION_CREATE"
    SUBSCRIPTION_CYCLE = "SUBSCRIPTION_CYCLE"
    SUBSCRIPTION_UPDATE = "SUBSCRIPTION_UPDATE"
    SUBSCRIPTION_TRIAL_END = "SUBSCRIPTION_TRIAL_END"
    AUTO_INVOICE_THRESHOLD = "AUTO_INVOICE_THRESHOLD"
    WALLET_AUTO_TOPUP = "WALLET_AUTO_TOPUP"
    MANUAL = "MANUAL"


class LineKind(StrEnum):
    """What an invoice line is. `credits` are bought for a wallet, on an invoice of their own."""

    fixed = "fixed"
    usage = "usage"
    overage = "overage"
    true_up = "true_up"
    proration_credit = "proration_credit"
    proration_charge = "proration_charge"
    adjustment = "adjustment"
    credits = "credits"


@dataclass(frozen=True, slots=True)
class LineItem:
    """One price of a subscription, in force over [start, end). `quantity` is not used for USAGE prices.

    `tax_rates` stand in place of the subscription's, where there are any. Until `trial_end` the line charges nothing.
    `agreed_end` is the end that was agreed in advance (a phase's): it is kept when a pause ends the line before it.
    """

    id: str
    price: Price
    quantity: Decimal
    start: datetime
    end: datetime | None = None
    tax_rates: tuple[TaxRate, ...] = ()
    trial_end: datetime | None = None
    agreed_end: datetime | None = None

    def __post_init__(self) -> None:
        check_utc(self.start, "start_date")
        if self.trial_end is not None:
            check_utc(self.trial_end, "trial_end")
        if self.quantity < 0:
            raise Invalid(f"quantity must be 0 or more; got {self.quantity}", field="quantity")
        if self.end is not None and check_utc(self.end, "end_date") < self.start:
            raise Invalid("a line's end_date must not be before its start_date", field="end_date")

    @property
    def charged_from(self) -> datetime:
        """When its first real period starts."""
        return self.start if self.trial_end is None else max(self.start, self.trial_end)

    @property
    def charged_quantity(self) -> Decimal:
        """The quantity that a FIXED price charges: never less than its minimum."""
        return max(self.quantity, self.price.min_quantity or ZERO)


def line_quantity(price: Price, quantities: Mapping[str, Decimal]) -> Decimal:
    """The quantity of a fixed line: the given one, else the price's least, else 1. Usage lines have none."""
    if price.type is PriceType.USAGE:
        return Decimal(0)
    return quantities.get(price.id, price.min_quantity or Decimal(1))


def is_taken(price: Price, cadence: Cadence) -> bool:
    """Whether a subscription billed each `cadence` takes a price of its plan: one of the same length, or ONETIME."""
    return price.cadence.period is BillingPeriod.ONETIME or price.cadence.same_length(cadence)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed. `lines` are in invoice order: the plan's prices, then add-ons.

    Boundaries are `anchor` + k x `cadence` in `zone`. `end_date`, where known, ends the last period. Until `trial_end`
    nothing is due: it is the anchor's start, and no line starts before it. Unbilled usage of `auto_invoice_threshold`
    makes an invoice at once.
    """

    id: str
    currency: str
    zone: str
    cadence: Cadence
    anchor: datetime
    start: datetime
    lines: tuple[LineItem, ...]
    cycle: BillingCycle = BillingCycle.anniversary
    end_date: datetime | None = None
    tax_rates: tuple[TaxRate, ...] = ()
    proration_behavior: ProrationBehavior = ProrationBehavior.create_prorations
    entitlements: tuple[EffectiveEntitlement, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    trial_end: datetime | None = None
    proration_unit: ProrationUnit = ProrationUnit.second
    auto_invoice_threshold: Decimal | None = None

    def __post_init__(self) -> None:
        exponent(self.currency)
        zone_info(self.zone)
        check_utc(self.anchor, "billing_anchor")
        check_utc(self.start, "start_date")
        check_recurs(self.cadence)
        if self.end_date is not None and check_utc(self.end_date, "end_date") <= self.start:
            raise Invalid("end_date must be after start_date", field="end_date")
        if self.trial_end is not None and check_utc(self.trial_end, "trial_end") <= self.start:
            raise Invalid("trial_end must be after start_date", field="trial_end")
        for line in self.lines:
            if line.price.currency != self.currency:
                raise Invalid(
                    f"price {line.price.id} is in {line.price.currency}, the subscription in {self.currency}",
                    field="currency",
                )
            if line.start < (self.trial_end or self.start):
                raise Invalid(f"line {line.id} must not start before the subscription's first period", "start_date")
        threshold = self.auto_invoice_threshold
        if threshold is not None and (threshold <= 0 or not is_rounded(threshold, self.currency)):
            wanted = f"above 0, with no more digits than {self.currency} has; got {decimal_text(threshold)}"
            raise Invalid(f"auto_invoice_threshold must be {wanted}", field="auto_invoice_threshold")
        _check_commitments(self)

    @property
    def line_tax_rates(self) -> tuple[LineTaxRates, ...]:
        """The rates of lines that have their own."""
        return tuple(LineTaxRates(line.id, line.tax_rates) for line in self.lines if line.tax_rates)


def check_recurs(cadence: Cadence) -> None:
    """Whether a subscription can be billed each `cadence`. Raises Invalid."""
    if cadence.period is BillingPeriod.ONETIME:
        raise Invalid("billing_period of a subscription must recur; ONETIME is for prices", field="billing_period")


def of_lines(terms: Terms, lines: Iterable[LineItem]) -> Terms:
    """The terms as they are for `lines` alone: what others are committed to is left out."""
    own = tuple(lines)
    names = {None, *(line.id for line in own)}
    return replace(terms, lines=own, commitments=tuple(one for one in terms.commitments if one.line_item_id in names))


def _check_commitments(terms: Terms) -> None:
    usage = {line.id for line in terms.lines if line.price.type is PriceType.USAGE}
    named = [one.line_item_id for one in terms.commitments]
    for name in named:
        if name is not None and name not in usage:
            raise Invalid(f"line {name} has no usage to commit to", field="line_item_commitments")
        if named.count(name) > 1:
            raise Invalid("there must be one commitment a line or subscription", field="line_item_commitments")
    for one in terms.commitments:
        own = [line.price.cadence for line in terms.lines if line.id == one.line_item_id]
        check_duration(one.duration, [terms.cadence, *own])
    if None in named and len(named) > 1:
        raise Invalid(
            "commit to the whole subscription (commitment_amount) or to lines (line_item_commitments), not to both",
            field="commitment_amount",
        )


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A fixed line that an earlier invoice billed in advance, as its credit needs it.

    `amount` is what the line billed, net of its discounts; the taxes are its parts of that invoice's taxes (the
    inclusive one is contained in `amount`); `credited` (positive) is what was credited of it before, on drafts too.
    """

    invoice_id: str
    invoice_line_id: str
    line_item_id: str
    price: Price
    quantity: Decimal
    period: Period
    amount: Decimal
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO
    credited: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class DueLine:
    """One line that an invoice must carry.

    `share` is the part of the nominal period that `period` covers (of the billed period, for a credit); 1 for usage.
    `nominal` is that whole period; None for one-time charges. `credit_of` is set for proration credits only.
    """

    kind: LineKind
    line_item_id: str
    price: Price
    quantity: Decimal
    period: Period
    share: Fraction = Fraction(1)
    nominal: Period | None = None
    credit_of: BilledLine | None = None


@dataclass(frozen=True, slots=True)
class DueInvoice:
    """An invoice that falls due at business instant `at`, for `period`."""

    reason: BillingReason
    at: datetime
    period: Period
    lines: tuple[DueLine, ...]

    @property
    def has_usage(self) -> bool:
        """Whether late events can still change it."""
        return any(line.kind is LineKind.usage for line in self.lines)
