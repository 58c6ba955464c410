"""Plain functions with defaults that make values for the tests of the billing core."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from billing.invoices import InvoiceInputs
from billing.meters import UsageQuantity, UsageSnapshot
from billing.money import ZERO
from billing.periods import BillingCycle, BillingPeriod, Cadence, Period
from billing.prices import (
    BillingModel,
    InvoiceCadence,
    Price,
    PriceType,
    RoundMode,
    Tier,
    TierMode,
    TransformQuantity,
)
from billing.subscriptions import billing_anchor
from billing.taxes import TaxRate, TaxRateType
from billing.terms import BilledLine, BillingReason, DueInvoice, DueLine, LineItem, LineKind, ProrationBehavior, Terms

MONTHLY = Cadence(BillingPeriod.MONTHLY)


def utc(text: str) -> datetime:
    """ "2025-01-31" or "2025-01-31T09:30" in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def span(start: str, end: str) -> Period:
    return Period(utc(start), utc(end))


def seat(
    amount: str = "12.5",
    cadence: Cadence = MONTHLY,
    invoice_cadence: InvoiceCadence = InvoiceCadence.ADVANCE,
    currency: str = "usd",
    min_quantity: str | None = None,
) -> Price:
    return Price(
        id="price_seat",
        display_name="Seat",
        type=PriceType.FIXED,
        billing_model=BillingModel.FLAT_FEE,
        currency=currency,
        cadence=cadence,
        invoice_cadence=invoice_cadence,
        amount=Decimal(amount),
        min_quantity=None if min_quantity is None else Decimal(min_quantity),
    )


def tiers(*rows: tuple[str | None, str, str]) -> tuple[Tier, ...]:
    """(up_to, unit_amount, flat_amount) rows."""
    return tuple(
        Tier(None if up_to is None else Decimal(up_to), Decimal(unit), Decimal(flat)) for up_to, unit, flat in rows
    )


def tiered(mode: TierMode, *rows: tuple[str | None, str, str], cadence: Cadence = MONTHLY) -> Price:
    return Price(
        id="price_talk",
        display_name="Talk time",
        type=PriceType.USAGE,
        billing_model=BillingModel.TIERED,
        currency="usd",
        cadence=cadence,
        invoice_cadence=InvoiceCadence.ARREAR,
        tier_mode=mode,
        tiers=tiers(*rows),
        meter_id="meter_talk",
    )


def talk(cadence: Cadence = MONTHLY) -> Price:
    return tiered(
        TierMode.SLAB, ("36000", "0.0015", "0"), ("90000", "0.0012", "5"), (None, "0.000875", "0"), cadence=cadence
    )


def package(amount: str = "4.75", divide_by: int = 50, rounding: RoundMode = RoundMode.up) -> Price:
    return Price(
        id="price_premium",
        display_name="Premium calls",
        type=PriceType.USAGE,
        billing_model=BillingModel.PACKAGE,
        currency="usd",
        cadence=MONTHLY,
        invoice_cadence=InvoiceCadence.ARREAR,
        amount=Decimal(amount),
        transform_quantity=TransformQuantity(divide_by, rounding),
        meter_id="meter_premium",
    )


def tax(value: str = "18", inclusive: bool = False, kind: TaxRateType = TaxRateType.percentage) -> TaxRate:
    code = f"{kind}_{value}_{'in' if inclusive else 'ex'}"
    return TaxRate(f"tax_{code}", code, f"Tax {value}", kind, Decimal(value), inclusive)


def terms(
    *prices: Price,
    start: str = "2025-01-31",
    zone: str = "UTC",
    cadence: Cadence = MONTHLY,
    cycle: BillingCycle = BillingCycle.anniversary,
    anchor: str | None = None,
    end_date: str | None = None,
    quantity: str = "5",
    proration: ProrationBehavior = ProrationBehavior.create_prorations,
) -> Terms:
    """A subscription with one line a price, ids line_0, line_1 ..."""
    begin = utc(start)
    given = None if anchor is None else utc(anchor)
    return Terms(
        id="sub_1",
        currency="usd",
        zone=zone,
        cadence=cadence,
        anchor=billing_anchor(begin, zone, cadence, cycle, given),
        start=begin,
        lines=tuple(LineItem(f"line_{i}", price, Decimal(quantity), begin) for i, price in enumerate(prices)),
        cycle=cycle,
        end_date=None if end_date is None else utc(end_date),
        proration_behavior=proration,
    )


def snapshot(meter_id: str, period: Period, quantity: str, events: int = 10) -> UsageSnapshot:
    usage = UsageQuantity(Decimal(quantity), events, 0, "c0ffee")
    return UsageSnapshot(f"snap_{meter_id}", meter_id, period, utc("2025-03-01T02:00"), usage, "SELECT 1")


def fixed_due(
    price: Price, quantity: str = "5", period: Period | None = None, share: Fraction = Fraction(1)
) -> DueLine:
    own = period or span("2025-02-28", "2025-03-31")
    return DueLine(LineKind.fixed, "line_0", price, Decimal(quantity), own, share, own)


def usage_due(price: Price, period: Period | None = None) -> DueLine:
    own = period or span("2025-01-31", "2025-02-28")
    return DueLine(LineKind.usage, "line_1", price, ZERO, own, Fraction(1), own)


def credit_due(
    amount: str, share: Fraction, credited: str = "0", exclusive_tax: str = "0", inclusive_tax: str = "0"
) -> DueLine:
    billed = BilledLine(
        invoice_id="inv_1",
        invoice_line_id="li_1",
        line_item_id="line_0",
        price=seat(),
        quantity=Decimal(5),
        period=span("2025-02-01", "2025-03-01"),
        amount=Decimal(amount),
        exclusive_tax=Decimal(exclusive_tax),
        inclusive_tax=Decimal(inclusive_tax),
        credited=Decimal(credited),
    )
    unused = span("2025-02-15", "2025-03-01")
    return DueLine(
        LineKind.proration_credit, "line_0", billed.price, billed.quantity, unused, share, billed.period, billed
    )


def inputs(*lines: DueLine, taxes: tuple[TaxRate, ...] = (), usage: tuple[UsageSnapshot, ...] = ()) -> InvoiceInputs:
    period = span("2025-01-31", "2025-02-28")
    return InvoiceInputs("usd", DueInvoice(BillingReason.SUBSCRIPTION_CYCLE, period.end, period, lines), taxes, usage)
