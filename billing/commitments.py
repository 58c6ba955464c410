"""Commitments: what a customer promised to use, of one line or of the whole subscription. Values only.

Owns the shapes and their checks. How they split and add lines is billing.commitment_lines'. Rules: billing-rules.md
section 2.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from billing.errors import Invalid
from billing.money import ZERO
from billing.periods import BillingPeriod, Period
from billing.prices import Price
from billing.windows import WindowSize


class CommitmentType(StrEnum):
    """amount: `value` is money. quantity: `value` is units of the line, worth what its price charges for them."""

    amount = "amount"
    quantity = "quantity"


@dataclass(frozen=True, slots=True)
class Commitment:
    """A promise: usage up to it at its price, beyond it times `overage_factor`; `true_up` bills what is missing.

    `line_item_id` None: of all usage lines of the subscription together. Without `duration` it is for each billing
    period; with one it is for each of these from the subscription's start. `windowed`: for each bucket of a bucketed
    meter. Money is major units of the subscription's currency.
    """

    type: CommitmentType
    value: Decimal
    line_item_id: str | None = None
    overage_factor: Decimal = Decimal(1)
    true_up: bool = False
    duration: BillingPeriod | None = None
    windowed: bool = False

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise Invalid(f"a commitment must be above 0; got {self.value}", field=f"commitment_{self.type}")
        if self.overage_factor < 1:
            raise Invalid(f"overage_factor must be 1 or more; got {self.overage_factor}", field="overage_factor")
        if self.type is CommitmentType.quantity and self.line_item_id is None:
            raise Invalid("a subscription's commitment must be an amount", field="commitment_quantity")
        if self.duration is BillingPeriod.ONETIME:
            raise Invalid("commitment_duration must recur; ONETIME is for prices", field="commitment_duration")
        if self.windowed and (self.line_item_id is None or self.duration is not None):
            raise Invalid(
                "is_window_commitment is for lines, without a commitment_duration", field="is_window_commitment"
            )


@dataclass(frozen=True, slots=True)
class CommitmentBuckets:
    """How a windowed commitment's windows are cut."""

    size: WindowSize
    zone: str
    anchor: datetime


@dataclass(frozen=True, slots=True)
class DueCommitment:
    """A commitment as one invoice meets it: `period` of it, of which `share` is kept when it is cut short.

    `counted` is what earlier invoices counted towards this period, `ends` whether the period ends with this invoice.
    `price` is the line's; `buckets` are there for a windowed one, whose `period` is the line's.
    """

    commitment: Commitment
    period: Period
    share: Fraction = Fraction(1)
    counted: Decimal = ZERO
    ends: bool = True
    price: Price | None = None
    buckets: CommitmentBuckets | None = None


@dataclass(frozen=True, slots=True)
class CommitmentPart:
    """How a commitment cut a line: `whole` was the line, `within` of it counts, beyond it `factor` applies.

    On a true-up line `whole` is the commitment and `within` what counted.
    `committed` is the commitment of the period in money, `counted` what was counted before this line; both None for a
    windowed one, where each window has its own.
    """

    line_item_id: str | None
    period: Period
    whole: Fraction
    within: Fraction
    factor: Decimal
    committed: Decimal | None = None
    counted: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CommitmentCount:
    """What lines of earlier invoices counted towards a period of a commitment."""

    line_item_id: str | None
    period: Period
    amount: Decimal
