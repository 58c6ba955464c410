"""What is stored reads back exactly, what is agreed travels as a payload, and `explain` says what was summed."""

import json
from fractions import Fraction

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from billing.codec import from_json, to_json
from billing.dunning import ActionRequired, Declined, DeclineKind, DunningSettings, Succeeded, Unknown
from billing.errors import BillingError, Conflict, Invalid, InvariantBroken
from billing.explain import explain_invoice, explain_line
from billing.invoices import Derivation, Invoice, InvoiceInputs, build_final_invoice, build_invoice
from billing.meters import AggregationType, Filter, Meter
from billing.prices import Price
from billing.subscriptions import open_subscription

from .builders import credit_due, fixed_due, inputs, package, seat, snapshot, span, talk, tax, terms, usage_due

USED = span("2025-01-31", "2025-02-28")
INPUTS = inputs(
    fixed_due(seat(), share=Fraction(17, 31)),
    usage_due(talk()),
    usage_due(package()),
    credit_due("60", Fraction(1, 3)),
    taxes=(tax("18"), tax("5", inclusive=True)),
    usage=(snapshot("meter_talk", USED, "40000.250000000001"), snapshot("meter_premium", USED, "101")),
)
INVOICE = build_final_invoice(INPUTS)


def test_inputs_and_invoice_read_back_exactly() -> None:
    assert from_json(InvoiceInputs, json.loads(json.dumps(to_json(INPUTS)))) == INPUTS
    assert from_json(Invoice, json.loads(json.dumps(to_json(INVOICE)))) == INVOICE
    for line in INVOICE.lines:
        assert from_json(Derivation, to_json(line.derivation)) == line.derivation


def test_json_form() -> None:
    data = to_json(INVOICE.lines[0].derivation)
    assert data["share"] == "17/31"
    assert data["price"]["amount"] == "12.5"
    assert data["price"]["billing_model"] == "FLAT_FEE"
    assert data["nominal"] == {"start": "2025-02-28T00:00:00Z", "end": "2025-03-31T00:00:00Z"}
    assert data["usage"] is None


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"share": "x"}, "share", "share must be a Fraction; got 'x'"),
        ({"share": 0.5}, "share", "share must be a Fraction; got 0.5"),
        ({"colour": "red"}, "colour", "Derivation has no field 'colour'"),
        ({"price": {"id": "p", "colour": 1}}, "price.colour", "price has no field 'colour'"),
        ({"price": {"id": "p"}}, "price", "price is incomplete: "),
        ({"steps": [{"tier": "1"}]}, "steps[0].tier", "steps[0].tier must be a int; got '1'"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], field: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        from_json(Derivation, {**to_json(INVOICE.lines[0].derivation), **change})
    assert caught.value.field == field
    assert caught.value.message.startswith(message)


def test_a_stored_invoice_that_does_not_add_up_is_not_read() -> None:
    data = {**to_json(INVOICE), "total": "1"}
    with pytest.raises(InvariantBroken):
        from_json(Invoice, data)


def test_floats_have_no_json_form() -> None:
    with pytest.raises(Invalid, match=r"^a float has no JSON form here$"):
        to_json((1.5,))


@pytest.mark.parametrize(
    "value",
    [
        terms(seat(), talk()),
        open_subscription(terms(seat(), talk())),
        Meter("m", "Calls", "call", AggregationType.SUM, "n", (Filter("region", ("eu", "us")),)),
        DunningSettings(hour=9, zone="Asia/Kolkata"),
        Declined(DeclineKind.soft, "insufficient_funds"),
        Succeeded("ch_1"),
        ActionRequired("https://example.com"),
        Unknown("timeout"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_is_agreed_and_decided_travels_as_temporal_payloads(value: object) -> None:
    payloads = await pydantic_data_converter.encode([value])
    (back,) = await pydantic_data_converter.decode(payloads, [type(value)])
    assert back == value
    assert type(back) is type(value)


async def test_invariants_hold_on_the_other_side_of_the_wire() -> None:
    payloads = await pydantic_data_converter.encode([talk()])
    payloads[0].data = payloads[0].data.replace(b'"up_to":"36000"', b'"up_to":"360000"')
    with pytest.raises(Exception, match="up_to must be greater"):
        await pydantic_data_converter.decode(payloads, [Price])


def test_explain_goes_tier_by_tier() -> None:
    invoice = build_final_invoice(inputs(usage_due(talk()), usage=(snapshot("meter_talk", USED, "40000.25", 812),)))
    assert explain_line(invoice.lines[0]) == [
        "Talk time, 2025-01-31 to 2025-02-28: 63.80 usd",
        "usage: 40000.25 from 812 events of meter meter_talk, accepted before 2025-03-01 02:00:00 (checksum c0ffee)",
        "price: 3 tiers, each unit in its own tier; quantity 40000.25",
        "tier 1 (from 0 up to 36000): 36000 x 0.0015 = 54",
        "tier 2 (from 36000 up to 90000): 4000.25 x 0.0012 + 5 flat = 9.8003",
        "sum: 54 + 9.8003 = 63.8003",
        "rounded once, half away from zero, to 2 digits: 63.8003 -> 63.80 usd",
    ]


def test_explain_an_invoice_with_tax_share_credit_and_package() -> None:
    text = "\n".join(explain_invoice(INVOICE, INPUTS))
    for part in (
        "share of the whole period 2025-02-28 to 2025-03-31: ",
        "101 / 50 = 2.02, a started package counts",
        "3 x 4.75 = 14.25",
        "billed in advance: 60.00 usd for 2025-02-01 to 2025-03-01 (invoice inv_1, line li_1)",
        "-60 x 0.333333333333... = -20",
        "Tax 18: 18 % of",
        "(not added)",
        f"Total: {INVOICE.total} usd",
    ):
        assert part in text
    titles = [words for words in text.splitlines() if words[0].isdigit()]
    assert titles == [
        "1. Seat, 2025-02-28 to 2025-03-31: 34.27 usd",
        "2. Talk time, 2025-01-31 to 2025-02-28: 63.80 usd",
        "3. Premium calls, 2025-01-31 to 2025-02-28: 14.25 usd",
        "4. Unused time: Seat, 2025-02-15 to 2025-03-01: -20.00 usd",
    ]


def test_explain_a_draft_a_carried_credit_and_nothing() -> None:
    assert "usage is not frozen yet" in "\n".join(told(inputs(usage_due(talk()))))
    carried = inputs(credit_due("100", Fraction(1, 2), exclusive_tax="18"), taxes=(tax(),))
    assert "To the customer's balance: 59.00 usd, of which 9.00 usd is tax" in "\n".join(told(carried))
    assert told(inputs())[1].startswith("Nothing was due")


def told(made: InvoiceInputs) -> list[str]:
    return explain_invoice(build_invoice(made), made)


def test_explain_shows_dates_in_the_customers_zone() -> None:
    invoice = build_invoice(inputs(fixed_due(seat(), period=span("2025-01-30T18:30", "2025-02-27T18:30"))))
    assert explain_line(invoice.lines[0], "Asia/Kolkata")[0] == "Seat, 2025-01-31 to 2025-02-28: 62.50 usd"


def test_errors_carry_code_field_and_details() -> None:
    error = Conflict("no", state="VOIDED", possible=("pay",), details={"id": "inv_1"})
    assert isinstance(error, BillingError)
    assert (error.code, error.details) == ("conflict", {"id": "inv_1", "state": "VOIDED", "possible": ["pay"]})
    assert Invalid("x", "tiers[1].up_to", code="unknown_zone").code == "unknown_zone"
