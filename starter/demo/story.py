"""The story that the demo tells: the catalogue, the customers and the clock, as bodies of the public API.

Owns what is posted. What must come out of it is in `golden/`, which has its own copy of the price list.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starter.demo.api import Json

CLOCK_NAME = "demo-2025"
CLOCK_START = datetime(2025, 1, 1, tzinfo=UTC)
LAST_MONTH = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK_END = datetime(2026, 1, 3, tzinfo=UTC)
"""Two days into the new year, so that the grace of the last period has ended."""

UPLOAD_AHEAD = timedelta(hours=12)
"""Usage is posted up to this far ahead of the clock; the API accepts 24 hours."""

SETTINGS: Json = {
    "seller": {
        "name": "Demo Voice, Inc.",
        "address": ["500 Harbour Road", "San Francisco, CA 94105", "United States"],
        "tax_id": "EIN 12-3456789",
        "email": "billing@demo-voice.example",
    },
}
"""Who the invoices are from."""

TAX_RATE: Json = {
    "code": "gst18",
    "name": "GST 18 %",
    "tax_rate_type": "percentage",
    "percentage_value": "18",
}

PLAN: Json = {
    "lookup_key": "voice_pro",
    "name": "Voice Pro",
    "description": "Seats, talk time and premium voices, by the month.",
}

CALL_SECONDS: Json = {
    "lookup_key": "call_seconds",
    "name": "Talk time",
    "type": "metered",
    "unit_singular": "second",
    "unit_plural": "seconds",
    "meter": {
        "name": "call_seconds",
        "event_name": "voice_call",
        "reset_usage": "BILLING_PERIOD",
        "aggregation": {"type": "SUM", "field": "duration_seconds"},
    },
}

PREMIUM_CALLS: Json = {
    "lookup_key": "premium_calls",
    "name": "Premium calls",
    "type": "metered",
    "unit_singular": "call",
    "unit_plural": "calls",
    "meter": {
        "name": "premium_calls",
        "event_name": "voice_call",
        "reset_usage": "BILLING_PERIOD",
        "aggregation": {"type": "COUNT"},
        "filters": [{"key": "model", "values": ["sonic-large", "sonic-ultra"]}],
    },
}

_MONTHLY: Json = {
    "entity_type": "PLAN",
    "currency": "usd",
    "billing_period": "MONTHLY",
    "billing_period_count": 1,
    "billing_cadence": "RECURRING",
    "price_unit_type": "FIAT",
}


def prices(plan_id: str, call_seconds_meter: str, premium_calls_meter: str) -> list[Json]:
    """The plan's prices in their order, which is the order of the invoice lines."""
    common = {**_MONTHLY, "entity_id": plan_id}
    return [
        {
            **common,
            "lookup_key": "seat",
            "display_name": "Seat",
            "type": "FIXED",
            "billing_model": "FLAT_FEE",
            "invoice_cadence": "ADVANCE",
            "amount": "12.5",
        },
        {
            **common,
            "lookup_key": "talk",
            "display_name": "Talk time",
            "type": "USAGE",
            "billing_model": "TIERED",
            "tier_mode": "SLAB",
            "invoice_cadence": "ARREAR",
            "meter_id": call_seconds_meter,
            "tiers": [
                {"up_to": 36000, "unit_amount": "0.0015"},
                {"up_to": 90000, "unit_amount": "0.0012", "flat_amount": "5"},
                {"up_to": None, "unit_amount": "0.000875"},
            ],
        },
        {
            **common,
            "lookup_key": "premium",
            "display_name": "Premium calls",
            "type": "USAGE",
            "billing_model": "PACKAGE",
            "invoice_cadence": "ARREAR",
            "meter_id": premium_calls_meter,
            "amount": "4.75",
            "transform_quantity": {"divide_by": 50, "round": "up"},
        },
    ]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the story. `start` is the subscription's; `card` a token of the sandbox payment provider."""

    external_id: str
    name: str
    timezone: str
    start: datetime
    seats: int
    card: str
    email: str
    address: tuple[str, str, str, str]

    def body(self, test_clock_id: str) -> Json:
        """What POST /v1/customers takes."""
        line, city, postal_code, country = self.address
        return {
            "external_id": self.external_id,
            "name": self.name,
            "email": self.email,
            "timezone": self.timezone,
            "address_line1": line,
            "address_city": city,
            "address_postal_code": postal_code,
            "address_country": country,
            "test_clock_id": test_clock_id,
            "tax_rate_overrides": [{"tax_rate_code": "gst18", "currency": "usd", "auto_apply": True}],
        }

    def subscription(self, plan_id: str, seat_price_id: str) -> Json:
        """What POST /v1/subscriptions takes."""
        return {
            "external_customer_id": self.external_id,
            "plan_id": plan_id,
            "currency": "usd",
            "billing_period": "MONTHLY",
            "billing_period_count": 1,
            "billing_cycle": "anniversary",
            "start_date": self.start.isoformat(),
            "proration_behavior": "none",
            "override_line_items": [{"price_id": seat_price_id, "quantity": str(self.seats)}],
            "gateway_payment_method_id": self.card,
        }


CUSTOMERS = (
    Customer(
        "kaveri-health",
        "Kaveri Health कावेरी",
        "Asia/Kolkata",
        datetime.fromisoformat("2025-01-31T00:00:00+05:30"),
        5,
        "pm_card_succeeds",
        "accounts@kaveri-health.example",
        ("14 Lalbagh Road", "Bengaluru", "560027", "IN"),
    ),
    Customer(
        "northwind-labs",
        "Northwind Labs",
        "America/New_York",
        datetime.fromisoformat("2025-01-01T00:00:00-05:00"),
        12,
        "pm_script_ok_ok_soft_ok",
        "ap@northwind-labs.example",
        ("218 Harbor Street", "Portland, ME", "04101", "US"),
    ),
    Customer(
        "seine-voix",
        "Seine & Voix SARL",
        "Europe/Paris",
        datetime.fromisoformat("2025-01-15T09:30:00+01:00"),
        3,
        "pm_card_succeeds",
        "compta@seine-voix.example",
        ("7 quai des Célestins", "Paris", "75004", "FR"),
    ),
)


def next_stop(now: datetime, period_ends: list[datetime]) -> datetime:
    """Where the clock stops next, so that usage can be posted in time; `now` is before CLOCK_END.

    The starts of the subscriptions, the first of each month, and each period end whose usage is not posted yet: it is
    posted in the two hours between a period's end and its invoice.
    """
    if now >= LAST_MONTH:
        return CLOCK_END
    first_of_next_month = (now.replace(day=1, hour=0, minute=0, second=0) + timedelta(days=32)).replace(day=1)
    starts = [customer.start.astimezone(UTC) for customer in CUSTOMERS if customer.start > now]
    ends = [end for end in period_ends if end > now + UPLOAD_AHEAD]
    return min([first_of_next_month, *starts, *ends])
