"""What the tenants of these tests sell and to whom, and the invoices that `billing/` alone makes of it.

The figures here are written down twice, as bodies of the API and as values of the core, so that the two can disagree.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from billing.invoices import Invoice, InvoiceInputs, build_final_invoice
from billing.meters import UsageQuantity, UsageSnapshot
from billing.money import total
from billing.periods import BillingPeriod, Cadence, Period
from billing.prices import BillingModel, InvoiceCadence, Price, PriceType, Tier, TierMode
from billing.subscriptions import close_period, finalize_at, open_subscription
from billing.taxes import TaxRate, TaxRateType
from billing.terms import DueInvoice, LineItem, Terms
from tests.faults.client import Json

GRACE_SECONDS = 1
METER = "meter"
TAX: Json = {"code": "gst18", "name": "GST 18 %", "tax_rate_type": "percentage", "percentage_value": "18"}
CALLS: Json = {
    "lookup_key": "talk",
    "name": "Talk time",
    "type": "metered",
    "meter": {
        "name": "talk",
        "event_name": "call",
        "reset_usage": "BILLING_PERIOD",
        "aggregation": {"type": "SUM", "field": "seconds"},
    },
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan: seats in advance and graduated talk time in arrears, in one currency, by the month or by the day."""

    name: str
    currency: str
    period: BillingPeriod
    seat: str
    tier_end: str
    first_unit: str
    rest_unit: str

    def price_bodies(self, plan_id: str, meter_id: str) -> list[Json]:
        """What POST /v1/prices takes."""
        common = {
            "entity_type": "PLAN",
            "entity_id": plan_id,
            "currency": self.currency,
            "billing_period": self.period.value,
            "billing_period_count": 1,
            "billing_cadence": "RECURRING",
            "price_unit_type": "FIAT",
        }
        tiers = [{"up_to": self.tier_end, "unit_amount": self.first_unit}, {"unit_amount": self.rest_unit}]
        seat = {"display_name": "Seat", "type": "FIXED", "billing_model": "FLAT_FEE", "amount": self.seat}
        talk = {"display_name": "Talk", "type": "USAGE", "billing_model": "TIERED", "tier_mode": "SLAB"}
        return [
            {**common, **seat, "lookup_key": f"seat-{self.name}", "invoice_cadence": "ADVANCE"},
            {
                **common,
                **talk,
                "lookup_key": f"talk-{self.name}",
                "invoice_cadence": "ARREAR",
                "meter_id": meter_id,
                "tiers": tiers,
            },
        ]

    def prices(self) -> tuple[Price, Price]:
        """The same prices for the core."""
        cadence = Cadence(self.period)
        seat = Price(
            id="seat",
            display_name="Seat",
            type=PriceType.FIXED,
            billing_model=BillingModel.FLAT_FEE,
            currency=self.currency,
            cadence=cadence,
            invoice_cadence=InvoiceCadence.ADVANCE,
            amount=Decimal(self.seat),
        )
        talk = Price(
            id="talk",
            display_name="Talk",
            type=PriceType.USAGE,
            billing_model=BillingModel.TIERED,
            currency=self.currency,
            cadence=cadence,
            invoice_cadence=InvoiceCadence.ARREAR,
            tier_mode=TierMode.SLAB,
            tiers=(
                Tier(Decimal(self.tier_end), Decimal(self.first_unit)),
                Tier(None, Decimal(self.rest_unit)),
            ),
            meter_id=METER,
        )
        return seat, talk


MONTHLY = Offer("monthly", "usd", BillingPeriod.MONTHLY, "12.5", "500", "0.0175", "0.00875")
DAILY = Offer("daily", "eur", BillingPeriod.DAILY, "0.45", "40", "0.0333", "0.0125")
OFFERS = (MONTHLY, DAILY)


@dataclass(frozen=True, slots=True)
class Event:
    """One call, as it is posted."""

    id: str
    at: datetime
    seconds: Decimal

    def body(self, external_id: str) -> Json:
        """The event on the wire."""
        return {
            "event_name": "call",
            "external_customer_id": external_id,
            "event_id": self.id,
            "timestamp": self.at.isoformat(timespec="milliseconds"),
            "properties": {"seconds": str(self.seconds)},
        }


@dataclass
class Subscriber:
    """A customer with one subscription. `card` is a token of the payment sandbox, `accepted` what was answered 202."""

    external_id: str
    zone: str
    start: datetime
    seats: int
    card: str
    offer: Offer
    on_clock: bool
    subscription_id: str = ""
    accepted: dict[str, Event] = field(default_factory=dict)

    def terms(self) -> Terms:
        """What was agreed, for the core."""
        prices = self.offer.prices()
        return Terms(
            id=self.external_id,
            currency=self.offer.currency,
            zone=self.zone,
            cadence=Cadence(self.offer.period),
            anchor=self.start,
            start=self.start,
            lines=tuple(LineItem(price.id, price, Decimal(self.seats), self.start) for price in prices),
            tax_rates=(TaxRate("tax", "gst18", "GST 18 %", TaxRateType.percentage, Decimal(18)),),
        )

    def due(self, until: datetime) -> Iterator[DueInvoice]:
        """Everything that is to be finalized at or before `until`, in order."""
        terms = self.terms()
        step = open_subscription(terms)
        while step.invoice is None or finalize_at(step.invoice, GRACE_SECONDS) <= until:
            if step.invoice is not None:
                yield step.invoice
            step = close_period(terms, step.state)

    def invoices(self, until: datetime) -> list[Invoice]:
        """What `billing/` makes of the accepted events, up to `until`."""
        terms = self.terms()
        return [
            build_final_invoice(InvoiceInputs(terms.currency, due, terms.tax_rates, self._usage(due.period)))
            for due in self.due(until)
        ]

    def _usage(self, period: Period) -> tuple[UsageSnapshot, ...]:
        inside = [event for event in self.accepted.values() if period.contains(event.at)]
        quantity = UsageQuantity(total(event.seconds for event in inside), len(inside))
        return (UsageSnapshot("usage", METER, period, period.end, quantity),)


def calls(chance: random.Random, name: str, start: datetime, end: datetime, count: int) -> list[Event]:
    """`count` calls at random instants in [start, end), ids `name-0`, `name-1`, ..."""
    milliseconds = (end - start) // timedelta(milliseconds=1)
    return [
        Event(
            f"{name}-{number}",
            start + timedelta(milliseconds=chance.randrange(milliseconds)),
            Decimal(chance.randrange(1, 600_000)).scaleb(-3),
        )
        for number in range(count)
    ]
