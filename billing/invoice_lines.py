"""What an invoice is made from and made of: inputs, lines, derivations. Values only.

Owns the shapes that are stored with an invoice. The order of the sum is in billing.invoice_steps, the whole invoice in
billing.invoices. Rules: billing-rules.md sections 1 and 6.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import Struct

from billing.commitments import CommitmentPart, DueCommitment, TimeBucket
from billing.coupons import CouponAssociation, Discount
from billing.entitlements import Allowance
from billing.meters import UsageSnapshot
from billing.money import ZERO, minus, total
from billing.periods import Period
from billing.prices import Price, RatingStep
from billing.taxes import LineTaxRates, TaxAmount, TaxRate
from billing.terms import BilledLine, DueInvoice, LineKind
from billing.wallets import CreditDraw, Wallet


@dataclass(frozen=True, slots=True)
class InvoiceInputs:
    """Everything an invoice follows from. `usage` is matched to lines by meter and period; a draft may lack it.

    `tax_rates` are for lines without `line_tax_rates`. `coupons` are those in force at the boundary, with their counts
    as of then; `allowances` those on which its usage can draw. `wallet` is the PRE_PAID one as it stands when the
    invoice is finalized. `corrections` are of earlier periods, whose usage is known better by now,
    `billed` is what threshold invoices billed of its usage. Months of usage are those of `anchor`.
    """

    currency: str
    due: DueInvoice
    tax_rates: tuple[TaxRate, ...] = ()
    usage: tuple[UsageSnapshot, ...] = ()
    coupons: tuple[CouponAssociation, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    commitments: tuple[DueCommitment, ...] = ()
    wallet: Wallet | None = None
    line_tax_rates: tuple[LineTaxRates, ...] = ()
    corrections: "tuple[PeriodCorrection, ...]" = ()
    billed: "tuple[BilledUsage, ...]" = ()
    anchor: datetime | None = None


@dataclass(frozen=True, slots=True)
class UsageCharge:
    """What was charged so far for the usage (overage and true-up with it) of one line item in one of its periods.

    The invoice that closed the period charged `gross`, of which coupons left `net`; corrections since then add up to
    `corrected`. `quantity` is what was billable as it was counted last. The taxes are parts of the taxes of `charged`,
    the sum of all that was charged and not credited. Amounts are major units of the invoice's currency.
    """

    line_item_id: str | None
    period: Period
    display_name: str
    price: Price | None = None
    quantity: Fraction = Fraction(0)
    gross: Decimal = ZERO
    net: Decimal = ZERO
    corrected: Decimal = ZERO
    charged: Decimal = ZERO
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class BilledUsage:
    """What threshold invoices, `invoice_id` the last of them, billed of a line item's period before it closed.

    The period of `charge` is the part that had passed by then.
    """

    invoice_id: str
    charge: UsageCharge


@dataclass(frozen=True, slots=True)
class PeriodCorrection:
    """Usage of a closed period that is known better now than when invoice `invoice_id` billed it.

    `inputs` are what its usage follows from now, `charges` what was charged for it before. `by_credit_note`: the
    difference was credited on that invoice and makes no line.
    """

    invoice_id: str
    inputs: InvoiceInputs
    charges: tuple[UsageCharge, ...]
    by_credit_note: bool = False


@dataclass(frozen=True, slots=True)
class LineCorrection:
    """Why an adjustment line corrects invoice `invoice_id`: `charge` was billed, `now` are the lines as they should be.

    `now` is empty where the usage that is known now makes no such line.
    """

    invoice_id: str
    charge: UsageCharge
    now: "tuple[InvoiceLine, ...]" = ()


class RatedPart(Struct, frozen=True):
    """One part of a line's usage: `quantity` less `free` of the allowance (`limit`) of `window`, `used` of it before.

    A bucket of a meter is priced by itself: `amount` is the sum of its `steps`, `time_bucket` the place of the time of
    day whose price it has. Other parts are priced together.
    """

    period: Period
    quantity: Fraction
    free: Fraction = Fraction(0)
    window: Period | None = None
    limit: Fraction | None = None
    group: str | None = None
    amount: Fraction | None = None
    steps: tuple[RatingStep, ...] = ()
    used: Fraction = Fraction(0)
    time_bucket: int | None = None


class Derivation(Struct, frozen=True):
    """How a line's amount came about: `rated` (the sum of `steps`) x `share` = `exact`, rounded once to the amount.

    `quantity` is what was rated, exactly. `nominal` is the whole period of which `share` is a part. For a credit,
    `rated` is what `credit_of` billed and `exact` is negative, at most what was left to credit. `parts` are there when
    usage drew on an allowance or was read in windows; `uncapped` is the sum that the price's maximum cut to `rated`.
    A commitment cuts `exact`, and `quantity` in proportion; `time_buckets` are those of the prices of `parts`. A
    `correction` is the difference to what was charged before: `quantity` and `exact` are differences, of either sign.
    `billed_before` is what threshold invoices billed of `exact`: the amount is the rest.
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
    parts: tuple[RatedPart, ...] = ()
    uncapped: Fraction | None = None
    commitment: CommitmentPart | None = None
    correction: LineCorrection | None = None
    time_buckets: tuple[TimeBucket, ...] = ()
    billed_before: Decimal = ZERO


class LineDiscount(Struct, frozen=True):
    """One line's part of what a coupon takes off the invoice."""

    association_id: str
    display_name: str
    amount: Decimal


class InvoiceLine(Struct, frozen=True):
    """One line. `amount` (major units) contains the line's part of inclusive taxes, not of exclusive ones.

    `taxable` is the line's part of the tax base; the two taxes are its parts of the invoice's taxes. `discounts` are
    what the coupons take off `amount`, `prepaid_credits` is what a wallet pays of the rest.
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
    discounts: tuple[LineDiscount, ...] = ()
    prepaid_credits: Decimal = ZERO

    @property
    def discount(self) -> Decimal:
        """What coupons take off the line."""
        return total([part.amount for part in self.discounts]) if self.discounts else ZERO

    @property
    def net_amount(self) -> Decimal:
        """`amount` less its discounts."""
        return minus(self.amount, self.discount) if self.discounts else self.amount

    @property
    def counts_as(self) -> LineKind:
        """Which kind it is for what pays it: a correction of usage is usage."""
        return self.kind if self.derivation.correction is None else LineKind.usage


@dataclass(frozen=True, slots=True)
class CreditedCharge:
    """What a credit takes a part of: `amount` of invoice `invoice_id`, with the taxes that it was billed with."""

    invoice_id: str
    amount: Decimal
    exclusive_tax: Decimal
    inclusive_tax: Decimal


def credited_charge(line: InvoiceLine) -> CreditedCharge | None:
    """What a line gives back a part of: unused time or usage that was charged before; None for charges."""
    billed, correction = line.derivation.credit_of, line.derivation.correction
    if billed is not None:
        return CreditedCharge(billed.invoice_id, billed.amount, billed.exclusive_tax, billed.inclusive_tax)
    if correction is None or line.amount >= 0:
        return None
    charge = correction.charge
    return CreditedCharge(correction.invoice_id, charge.charged, charge.exclusive_tax, charge.inclusive_tax)


class CarriedCredit(Struct, frozen=True):
    """Credit beyond the invoice's charges, which goes to the customer's balance: `amount` plus `exclusive_tax`.

    Both taxes are parts of what the credited lines were billed with, for the credit that met no charge of the same
    rates: `amount`, and what lowered charges of other rates. `inclusive_tax` is inside that credit.
    """

    amount: Decimal = ZERO
    exclusive_tax: Decimal = ZERO
    inclusive_tax: Decimal = ZERO

    @property
    def to_customer(self) -> Decimal:
        """What the customer gets."""
        return total((self.amount, self.exclusive_tax))


NOTHING_CARRIED: Final = CarriedCredit()


class Workings(Struct, frozen=True):
    """The invoice while the steps work on it. `taxable` is each line's part of the tax base, once that is known."""

    lines: tuple[InvoiceLine, ...] = ()
    taxable: tuple[Decimal, ...] = ()
    discounts: tuple[Discount, ...] = ()
    draws: tuple[CreditDraw, ...] = ()
    taxes: tuple[TaxAmount, ...] = ()
    carried: CarriedCredit = NOTHING_CARRIED
