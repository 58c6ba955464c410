"""What a document says of wallets and credit grants is what the rules get."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.auto_topups import AutoTopUp
from billing.balance_alerts import AlertCondition, AlertSettings, AlertThreshold
from billing.periods import BillingPeriod, Cadence
from billing.scenario.agreement import (
    build_terms,
)
from billing.scenario.catalog import Catalog, build_catalog
from billing.scenario.credits import Watched, build_addon_grants, build_grants, build_wallets, build_watched
from billing.scenario.document import Scenario
from billing.scenario.parse import parse_scenario
from billing.wallets import AllowedPriceTypes
from tests.simulation.documents import SEAT, USE, document

Json = dict[str, Any]
D = Decimal
SUPPORT: Json = {
    "key": "support",
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "amount": "7",
    "invoice_cadence": "ARREAR",
}


def on(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def built(**parts: Any) -> tuple[Scenario, Catalog]:
    scenario = parse_scenario(document(**parts))
    return scenario, build_catalog(scenario)


def subscribed(**part: Any) -> Json:
    return {"plan": "pro", "start_date": "2026-01-01T00:00:00Z", **part}


ADDONS = [
    {
        "key": "help", "prices": [SUPPORT], "entitlements": [{"meter": "calls", "usage_limit": 40}],
        "credit_grants": [{"key": "thanks", "credits": "3", "cadence": "RECURRING", "period": "MONTHLY"}],
    },
    {"key": "more", "prices": [{**SUPPORT, "key": "phone"}], "entitlements": [{"meter": "calls", "usage_limit": 5}]},
]  # fmt: skip


def test_wallets_with_what_they_pay_and_what_they_begin_with() -> None:
    """Initial credits are there before anything happens, also before an action in front of the start."""
    scenario, _ = built(
        wallets=[
            {"key": "pre", "conversion_rate": "0.5", "topup_conversion_rate": "0.4", "initial_credits": "20",
             "initial_credits_expiry_date_utc": "2026-06-01T00:00:00Z", "allowed_price_types": ["FIXED"]},
            {"key": "post", "wallet_type": "POST_PAID", "allowed_price_types": ["USAGE", "FIXED"]},
        ],
        actions=[{"at": "2025-12-30T00:00:00Z", "do": "top_up", "wallet": "pre", "credits": "1"}],
    )  # fmt: skip
    (pre, lot), (post, nothing) = build_wallets(scenario)
    assert (pre.conversion_rate, pre.topup_conversion_rate) == (D("0.5"), D("0.4"))
    assert (pre.allowed_price_types, post.allowed_price_types) == (AllowedPriceTypes.FIXED, AllowedPriceTypes.ALL)
    assert lot is not None
    assert (lot.credits, lot.remaining, lot.granted_at, lot.expires_at) == (
        D(20), D(20), on("2025-12-30"), on("2026-06-01"),
    )  # fmt: skip
    assert nothing is None


FILL = {"threshold": "5", "amount": "20", "invoicing": True, "cooldown": 60, "enabled": False}
ALERTS = {
    "critical": {"threshold": "9", "condition": "above"}, "info": {"threshold": "2", "condition": "above"},
    "alert_enabled": False,
}  # fmt: skip
FILLED = AutoTopUp(D(5), D(20), True, 60, False)
TOLD = AlertSettings(
    critical=AlertThreshold(D(9), AlertCondition.above),
    info=AlertThreshold(D(2), AlertCondition.above),
    alert_enabled=False,
)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"auto_topup": FILL}, {"w": Watched(FILLED, None)}),
        ({"alert_settings": ALERTS}, {"w": Watched(None, TOLD)}),
        ({"auto_topup": FILL, "alert_settings": ALERTS}, {"w": Watched(FILLED, TOLD)}),
        ({}, {}),
    ],
)
def test_wallets_that_are_watched(parts: Json, expected: dict[str, Watched]) -> None:
    scenario, _ = built(wallets=[{"key": "w", **parts}])
    assert build_watched(scenario) == expected


GIFT = {
    "key": "gift", "credits": "5", "cadence": "RECURRING", "period": "MONTHLY", "period_count": 2, "priority": 3,
    "start_date": "2026-02-01T00:00:00Z", "end_date": "2026-08-01T00:00:00Z", "expiration_type": "DURATION",
    "expiration_duration": 6, "expiration_duration_unit": "WEEK",
}  # fmt: skip


def test_grants_of_the_subscription_stand_in_place_of_its_plans() -> None:
    plans = [
        {"key": "basic", "prices": [{**SEAT, "key": "other"}]},
        {"key": "pro", "prices": [SEAT, USE], "credit_grants": [GIFT]},
    ]
    start = on("2026-01-01")
    scenario, _ = built(plans=plans)
    (grant,) = build_grants(scenario, "pro", start)
    assert (grant.id, grant.credits, grant.cadence, grant.priority) == (
        "gift",
        D(5),
        Cadence(BillingPeriod.MONTHLY, 2),
        3,
    )
    assert (grant.start, grant.anchor, grant.end) == (on("2026-02-01"), on("2026-02-01"), on("2026-08-01"))
    assert build_grants(scenario, "basic", start) == []
    early = {**GIFT, "key": "early", "start_date": "2025-06-01T00:00:00Z"}
    scenario, _ = built(plans=plans, subscription=subscribed(credit_grants=[early]))
    (grant,) = build_grants(scenario, "pro", start)
    assert (grant.id, grant.start) == ("early", start)  # nothing comes before the subscription


def test_grants_of_an_add_on_are_its_own() -> None:
    scenario, catalog = built(addons=ADDONS, subscription=subscribed(addons=[{"addon": "help"}]))
    terms = build_terms(scenario, catalog)
    (grant,) = build_addon_grants(scenario, "help", terms, terms.start)
    assert (grant.id, grant.credits) == ("thanks", D(3))
    assert build_addon_grants(scenario, "more", terms, terms.start) == []
