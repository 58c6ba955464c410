"""Single parts that make no sense: a value of the wrong kind, or two parts that do not go together."""

from typing import Any

import pytest

from billing.errors import Invalid
from billing.simulation.simulate import simulate
from tests.simulation.documents import SEAT, document, with_value

JANUARY = "2026-01-01T00:00:00Z"
CUSTOM = {
    "key": "seat", "type": "FIXED", "billing_model": "FLAT_FEE", "invoice_cadence": "ADVANCE",
    "price_unit_type": "CUSTOM", "price_unit_config": {"price_unit": "tok", "amount": "2"},
}  # fmt: skip
GRANT = {"key": "gift", "credits": "5", "cadence": "ONETIME"}

WRONG: list[tuple[str, Any, str, str]] = [
    # changed path, its value, path of the error, part of the message
    ("plans[0].prices", 5, "plans[0].prices", "must be a list; got 5"),
    ("actions", {}, "actions", "must be a list"),
    ("actions[0]", "pause", "actions[0]", "must be an object"),
    ("customer", "acme", "customer", 'must be an object; got "acme"'),
    ("customer.external_id", 5, "customer.external_id", "must be a text; got 5"),
    ("subscription.quantities", [], "subscription.quantities", "must be an object"),
    ("subscription.billing_period_count", "1", "subscription.billing_period_count", "must be a whole number"),
    ("subscription.billing_period_count", True, "subscription.billing_period_count", "must be a whole number"),
    ("subscription.billing_period_count", 2**63, "subscription.billing_period_count", "must be a whole number"),
    ("until", "2026-02-30T00:00:00Z", "until", "must be an instant"),
    ("until", "9999-12-31T23:59:59-14:00", "until", "must be an instant between the years 1970 and 9990"),
    ("until", "9991-01-01T00:00:00Z", "until", "between the years 1970 and 9990"),
    ("meters[0].key", "", "meters[0].key", "must not be empty"),
    ("events[0]", {"event_name": " ", "timestamp": JANUARY}, "events[0].event_name", "must not be empty"),
    ("customer.external_id", " ", "customer.external_id", "must not be empty"),
    ("settings", {"finalization_delay_seconds": -1}, "settings.finalization_delay_seconds", "from 0 to 2678400"),
    ("settings", {"finalization_delay_seconds": 2678401}, "settings.finalization_delay_seconds", "from 0 to 2678400"),
    ("settings", {"due_date_days": -1}, "settings.due_date_days", "must be from 0 to 365; got -1"),
    ("settings", {"due_date_days": 366}, "settings.due_date_days", "must be from 0 to 365; got 366"),
    ("subscription.trial_period_days", -1, "subscription.trial_period_days", "must be from 0 to 3650; got -1"),
    ("subscription.trial_period_days", 3651, "subscription.trial_period_days", "must be from 0 to 3650; got 3651"),
    ("subscription.quantities", {"none": "1"}, "subscription.quantities.none",
     "names no price that is sold here: 'none'; known: seat, use"),
    ("subscription.price_overrides", {"none": {}}, "subscription.price_overrides.none",
     "names no price of this subscription: 'none'; known: seat, use"),
    ("subscription.commitment", {"commitment_amount": "5", "commitment_duration": "WEEKLY"},
     "subscription.commitment.commitment_duration", "what is billed at once, 1 x MONTHLY; got WEEKLY"),
    ("subscription.line_commitments",
     {"use": {"commitment_type": "amount", "commitment_amount": "5", "commitment_duration": "DAILY"}},
     "subscription.line_commitments.use.commitment_duration", "not be shorter than what is billed at once"),
    ("plans[0].prices", [], "subscription.plan", "'pro' has no price"),
    ("plans[0].prices[0]", CUSTOM, "plans[0].prices[0].price_unit_config.price_unit", "known: none"),
    ("wallets", [{"key": "a"}, {"key": "b"}], "wallets[1].wallet_type", "one wallet of a type"),
    ("wallets[0]", {"key": "a", "initial_credits_expiry_date_utc": JANUARY},
     "wallets[0].initial_credits_expiry_date_utc", "must be absent without initial_credits"),
    ("wallets[0]", {"key": "a", "initial_credits": "5", "initial_credits_expiry_date_utc": JANUARY},
     "wallets[0].initial_credits_expiry_date_utc", "must be after"),
    ("wallets[0]", {"key": "a", "initial_credits": "-5"}, "wallets[0].initial_credits",
     "wallets[0].initial_credits must be above 0; got -5"),
    ("subscription.credit_grants[0]", {**GRANT, "conversion_rate": "2"},
     "subscription.credit_grants[0].conversion_rate", "that of the PRE_PAID wallet"),
    ("meters[0].filters", [{"key": "a", "values": ["x"] * 600}, {"key": "b", "values": ["x"] * 401}],
     "meters[0].filters", "must have 1000 values at most; got 1001"),
    ("meters[0].filters", [{"key": "", "values": ["x"]}], "meters[0].filters.key", "must not be empty"),
    ("plans[0].credit_grants[0]", {**GRANT, "credits": "0"}, "plans[0].credit_grants[0].credits", "above 0"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "value", "path", "message"), WRONG)
def test_the_path_and_the_reason_are_told(changed: str, value: Any, path: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(with_value(changed, value))
    assert refusal.value.field == path
    assert message in refusal.value.message


def test_a_meter_may_have_a_thousand_values() -> None:
    assert simulate(with_value("meters[0].filters", [{"key": "a", "values": ["x"] * 1000}]))["invoices"]


def minute_by_minute(**subscription: Any) -> dict[str, Any]:
    """A story whose usage is priced in buckets of a minute."""
    told = with_value("meters[0].aggregation.bucket_size", "MINUTE")
    told["subscription"].update(subscription)
    return told


def test_a_period_with_too_many_buckets_is_refused_where_its_price_is_named() -> None:
    assert simulate(minute_by_minute(billing_period="MONTHLY"))["invoices"]
    with pytest.raises(Invalid) as refusal:
        simulate(minute_by_minute(billing_period="QUARTERLY"))
    assert refusal.value.field == "plans[0].prices[1].billing_period"
    assert "must be shorter for a meter with buckets of MINUTE" in refusal.value.message


def test_a_change_to_a_period_with_too_many_buckets_is_refused_and_the_story_goes_on() -> None:
    change = {"at": "2026-01-10T00:00:00Z", "do": "change_plan", "plan": "pro", "billing_period": "ANNUAL"}
    told = simulate({**minute_by_minute(), "actions": [change]})
    assert [each["action"] for each in told["refused"]] == [0]
    assert "must be shorter for a meter with buckets of MINUTE" in told["refused"][0]["message"]
    assert told["subscription"]["current_period_end"] == "2026-04-01T00:00:00Z"


def test_a_coupon_that_cannot_be_redeemed_is_refused_where_it_is_named() -> None:
    coupon = {
        "key": "ten",
        "type": "percentage",
        "percentage_off": "10",
        "cadence": "once",
        "redeem_after": "2026-02-01T00:00:00Z",
    }
    part = {"plan": "pro", "start_date": JANUARY, "coupons": ["ten"]}
    with pytest.raises(Invalid, match="can be redeemed from 2026-02-01") as refusal:
        simulate(document(coupons=[coupon], subscription=part))
    assert refusal.value.field == "subscription.coupons[0]"


def test_one_line_cannot_be_committed_to_twice() -> None:
    part = {
        "plan": "pro",
        "start_date": JANUARY,
        "commitment": {"commitment_amount": "100"},
        "line_commitments": {"use": {"commitment_type": "amount", "commitment_amount": "50"}},
    }
    with pytest.raises(Invalid, match="commit to one of them") as refusal:
        simulate(document(subscription=part))
    assert refusal.value.field == "subscription.line_commitments.use"


def test_a_long_value_is_shortened_in_its_error() -> None:
    with pytest.raises(Invalid) as refusal:
        simulate(with_value("currency", ["x" * 100]))
    assert refusal.value.message == f'currency must be a text; got ["{"x" * 55}...'


def test_what_can_only_be_one_may_be_left_out() -> None:
    """A one-time charge is in advance; so is no other fixed price without saying it."""
    setup = {**SEAT, "key": "setup", "billing_period": "ONETIME", "amount": "99"}
    del setup["invoice_cadence"]
    first = simulate(document(plans=[{"key": "pro", "prices": [setup]}]))["invoices"][0]
    assert [(line["price"], line["amount"]) for line in first["lines"]] == [("setup", "99")]
