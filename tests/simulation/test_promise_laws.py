"""Laws of promises: whatever a customer has promised, the same can be done, and what is fixed costs the same."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.simulation.simulate import simulate
from tests.simulation.test_laws import eventful_stories

Json = dict[str, Any]
PROMISES: list[Json] = [
    {"line_commitments": {"use": {"commitment_type": "amount", "commitment_amount": "40", "enable_true_up": True}}},
    {"line_commitments": {"use": {"commitment_type": "quantity", "commitment_quantity": "70"}}},
    {"commitment": {"commitment_amount": "200", "overage_factor": "2", "enable_true_up": True}},
]


def fixed(result: Json) -> list[tuple[str, str, str, str, str]]:
    """What is charged and credited apart from usage, in order."""
    kinds = ("fixed", "proration_charge", "proration_credit")
    return [
        (line["kind"], line["price"], line["amount"], line["period_start"], line["period_end"])
        for invoice in result["invoices"]
        for line in invoice["lines"]
        if line["kind"] in kinds
    ]


@settings(max_examples=60, deadline=None)
@given(eventful_stories(), st.sampled_from(PROMISES), st.sampled_from([0, 10]))
def test_a_promise_never_decides_what_can_be_done(story: Json, promise: Json, trial_days: int) -> None:
    """Beside plan changes, pauses, add-ons, cancellations and the trial of a price."""
    story["payments"], story["subscription"]["coupons"] = [], []
    story["actions"] = [each for each in story["actions"] if each["do"] != "apply_coupon"]
    story["plans"][0]["prices"][0]["trial_period_days"] = trial_days
    plain = simulate(story)
    promised = simulate({**story, "subscription": {**story["subscription"], **promise}})
    assert promised["refused"] == plain["refused"]
    assert promised["subscription"] == plain["subscription"]
    assert fixed(promised) == fixed(plain)
