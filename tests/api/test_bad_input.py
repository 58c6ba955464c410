"""Bad input: 400 that names the field and what would be right, 404, 409, 413, 501, and nothing half written."""

from typing import Any

import httpx
import pytest

PEAK = {"event_name": "e", "aggregation_type": "MAX", "property_name": "n"}
METER = {"name": "m", "event_name": "call", "aggregation": {"type": "COUNT"}, "reset_usage": "BILLING_PERIOD"}
FLAT = {
    "type": "FIXED", "entity_type": "PLAN", "entity_id": "plan_x", "currency": "usd", "billing_model": "FLAT_FEE",
    "billing_period": "MONTHLY", "invoice_cadence": "ADVANCE", "price_unit_type": "FIAT", "amount": "10",
}  # fmt: skip
TIERED = {**FLAT, "billing_model": "TIERED", "tier_mode": "SLAB", "amount": None}
CUSTOMER = {"external_id": "acme", "name": "Acme"}
RATE = {"code": "vat", "name": "VAT", "percentage_value": "20"}
SUBSCRIPTION = {
    "customer_id": "cust_x", "plan_id": "plan_x", "currency": "usd", "billing_period": "MONTHLY",
}  # fmt: skip


def tiers(*rows: dict[str, Any]) -> dict[str, Any]:
    """A tiered price with these tiers."""
    return {**TIERED, "tiers": list(rows)}


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("/customers", {}, "external_id", "is required"),
    ("/customers", {**CUSTOMER, "name": ""}, "name", "at least 1 character"),
    ("/customers", {**CUSTOMER, "name": 7}, "name", "valid string"),
    ("/customers", {**CUSTOMER, "name": "x" * 256}, "name", "at most 255"),
    ("/customers", {**CUSTOMER, "timezone": "Mars/Olympus"}, "timezone", "IANA"),
    ("/customers", {**CUSTOMER, "email": "nobody"}, "email", "match"),
    ("/customers", {**CUSTOMER, "address_country": "India"}, "address_country", "match"),
    ("/customers", {**CUSTOMER, "metadata": {"a": 1}}, "metadata.a", "valid string"),
    ("/customers", {**CUSTOMER, "onboarding_workflow_name": "x"}, "onboarding_workflow_name", "left out"),
    (
        "/customers",
        {**CUSTOMER, "tax_rate_overrides": [{"tax_rate_code": "none", "currency": "usd"}]},
        "tax_rate_overrides[0].tax_rate_code",
        "existing tax rate",
    ),
    ("/meters", {**METER, "aggregation": {"type": "MEDIAN"}}, "aggregation.type", "COUNT, SUM, MAX"),
    ("/meters", {**METER, "aggregation": {"type": "AVG"}}, "aggregation.field", "required"),
    ("/meters", {**METER, "aggregation": {"type": "AVG", "field": "n", "multiplier": "2"}}, "aggregation.multiplier",
     "absent for others"),
    ("/meters", {**METER, "aggregation": {"type": "SUM_WITH_MULTIPLIER", "field": "n"}}, "aggregation.multiplier",
     "above 0"),
    ("/meters", {**METER, "aggregation": {"type": "SUM_WITH_MULTIPLIER", "field": "n", "multiplier": "x"}},
     "aggregation.multiplier", "decimal number"),
    ("/meters", {**METER, "aggregation": {"type": "SUM"}}, "aggregation.field", "required"),
    ("/meters", {**METER, "aggregation": {"type": "COUNT", "field": "n"}}, "aggregation.field", "absent"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "field": "n", "bucket_size": "YEAR"}},
     "aggregation.bucket_size", "MINUTE, 15MIN"),
    ("/meters", {**METER, "aggregation": {"type": "AVG", "field": "n", "bucket_size": "DAY"}},
     "aggregation.bucket_size", "SUM and MAX only"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "field": "n", "bucket_size": "DAY", "group_by": "node"}},
     "aggregation.group_by", "MAX with a bucket_size"),
    ("/meters", {**METER, "aggregation": {"type": "MAX", "field": "n", "group_by": "node"}}, "aggregation.group_by",
     "MAX with a bucket_size"),
    ("/meters", {**METER, "reset_usage": "NEVER", "aggregation": {"type": "SUM", "field": "n", "bucket_size": "DAY"}},
     "reset_usage", "with buckets"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "field": "n", "expression": "n"}}, "aggregation.expression",
     "beside aggregation.field"),
    ("/meters", {**METER, "aggregation": {"type": "COUNT_UNIQUE", "expression": "n"}}, "aggregation.expression",
     "SUM, AVG, MAX, LATEST"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "expression": "sqrt(n)"}}, "aggregation.expression",
     "no exact result"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "expression": "n +"}}, "aggregation.expression", "line 1"),
    ("/meters", {**METER, "aggregation": {"type": "SUM", "expression": "n" * 2001}}, "aggregation.expression",
     "2000 characters"),
    ("/meters", {**METER, "event_name": "  "}, "event_name", "name"),
    ("/meters", {**METER, "reset_usage": "ALWAYS"}, "reset_usage", "BILLING_PERIOD, NEVER"),
    ("/meters", {**METER, "filters": [{"key": "model", "values": []}]}, "filters[0].values", "at least 1 item"),
    ("/features", {"name": "f", "type": "magic"}, "type", "metered, boolean"),
    ("/features", {"name": "f", "type": "metered"}, "meter_id", "exactly one"),
    ("/features", {"name": "f", "type": "boolean", "meter_id": "meter_x"}, "meter_id", "left out"),
    ("/features", {"name": "f", "type": "boolean", "unit_singular": "call"}, "unit_plural", "required"),
    ("/features", {"name": "f", "type": "metered", "meter": {**METER, "aggregation": {"type": "SUM"}}},
     "meter.aggregation.field", "required"),
    ("/plans", {"name": "p", "display_order": 2**40}, "display_order", "less than"),
    ("/plans", {"name": "p", "prices": [FLAT]}, "prices", "POST /v1/prices"),
    ("/prices", {**FLAT, "currency": "xxx"}, "currency", "ISO 4217"),
    ("/prices", {**FLAT, "amount": "ten"}, "amount", "decimal number"),
    ("/prices", {**FLAT, "amount": "1e30"}, "amount", "digits before the point"),
    ("/prices", {**FLAT, "amount": "0.1234567890123456"}, "amount", "15 digits"),
    ("/prices", {**FLAT, "amount": "-1"}, "amount", "0 or more"),
    ("/prices", {**FLAT, "amount": None}, "amount", "0 or more"),
    ("/prices", {**FLAT, "billing_model": "PERCENTAGE"}, "billing_model", "FLAT_FEE"),
    ("/prices", {**FLAT, "entity_type": "ADDON"}, "entity_type", "PLAN"),
    ("/prices", {**FLAT, "type": "USAGE", "invoice_cadence": "ARREAR"}, "meter_id", "required"),
    ("/prices", {**FLAT, "type": "USAGE", "meter_id": "meter_x"}, "invoice_cadence", "ARREAR"),
    ("/prices", {**FLAT, "billing_model": "PACKAGE"}, "transform_quantity", "required"),
    ("/prices", {**FLAT, "billing_model": "PACKAGE", "transform_quantity": {"divide_by": 0}},
     "transform_quantity.divide_by", "at least 1"),
    ("/prices", {**FLAT, "trial_period_days": 14}, "trial_period_days", "no trials"),
    ("/prices", {**TIERED, "tier_mode": None}, "tier_mode", "required"),
    ("/prices", TIERED, "tiers", "required"),
    ("/prices", tiers({"up_to": 10, "unit_amount": "1"}), "tiers[0].up_to", "null"),
    ("/prices", tiers({"up_to": 10, "unit_amount": "1"}, {"up_to": 5, "unit_amount": "1"}, {"unit_amount": "1"}),
     "tiers[1].up_to", "greater than 10"),
    ("/prices", tiers({"up_to": None, "unit_amount": "1"}, {"unit_amount": "1"}), "tiers[0].up_to", "only the last"),
    ("/prices", tiers({"up_to": 10}, {"unit_amount": "1"}), "tiers[0].unit_amount", "required"),
    ("/prices", tiers({"unit_amount": "-0.01"}), "tiers[0].unit_amount", "0 or more"),
    ("/prices", {**FLAT, "start_date": "2025-01-01"}, "start_date", "RFC 3339"),
    ("/prices", {**FLAT, "start_date": "2025-01-01T00:00:00"}, "start_date", "offset"),
    ("/prices", {**FLAT, "start_date": "0001-01-01T00:00:00Z"}, "start_date", "1970"),
    ("/prices/bulk", {"items": []}, "items", "at least 1"),
    ("/prices/bulk", {"items": [{**FLAT, "currency": "xxx"}]}, "items[0].currency", "ISO 4217"),
    ("/taxes/rates", {**RATE, "percentage_value": "101"}, "percentage_value", "at most 100"),
    ("/taxes/rates", {"code": "c", "name": "n"}, "percentage_value", "required"),
    ("/taxes/rates", {**RATE, "tax_rate_type": "fixed"}, "fixed_value", "required"),
    ("/taxes/associations", {"tax_rate_code": "none", "entity_id": "cust_x"}, "tax_rate_code", "existing"),
    ("/subscriptions", {**SUBSCRIPTION, "customer_id": None}, "customer_id", "exactly one"),
    ("/subscriptions", {**SUBSCRIPTION, "coupons": ["c"]}, "coupons", "no coupons"),
    ("/subscriptions", {**SUBSCRIPTION, "billing_period_count": 0}, "billing_period_count", "greater than"),
    ("/test_clocks", {"name": "c", "frozen_time": "now"}, "frozen_time", "RFC 3339"),
    ("/webhooks/endpoints", {"url": "ftp://example.com"}, "url", "http"),
    ("/webhooks/endpoints", {"url": "https://example.com", "enabled_events": ["Nonsense!"]}, "enabled_events[0]",
     "match"),
    ("/webhooks/endpoints", {"url": "http://127.0.0.1:9/", "enabled_events": ["invoice.update"]},
     "enabled_events[0]", "a type of its own"),
    ("/secrets/api/keys", {"name": "k", "type": "nothing"}, "type", "private_key"),
    ("/secrets/api/keys", {"name": "k", "roles": ["king"]}, "roles", "super_admin"),
    ("/secrets/api/keys", {"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "future"),
    ("/events/usage", {"event_name": "e", "aggregation_type": "MEDIAN"}, "aggregation.type", "COUNT"),
    ("/events/usage", {"event_name": "e", "aggregation_type": "COUNT", "window_size": "YEAR"}, "window_size", "MINUTE"),
    ("/events/usage", {"event_name": "e", "aggregation_type": "COUNT", "timezone": "X"}, "timezone", "IANA"),
    ("/events/usage", {"event_name": "e", "aggregation_type": "COUNT", "bucket_size": "DAY"}, "bucket_size", "SUM and"),
    ("/events/usage", {**PEAK, "bucket_size": "YEAR"}, "bucket_size", "MINUTE"),
    ("/events/usage", {**PEAK, "group_by": ["properties.node"]}, "group_by", "MAX with a bucket_size"),
    ("/events/usage", {**PEAK, "bucket_size": "DAY", "group_by": ["source"]}, "group_by", "properties.NAME"),
    ("/events/usage", {**PEAK, "multiplier": "2"}, "multiplier", "SUM_WITH_MULTIPLIER"),
    ("/events/usage", {**PEAK, "window_size": "MINUTE", "start_time": "2024-01-01T00:00:00Z"}, "window_size", "50000"),
    ("/payments", {"destination_type": "INVOICE", "destination_id": "inv_x", "payment_method_type": "CREDITS",
                   "amount": "1", "currency": "usd"}, "payment_method_type", "OFFLINE"),
    ("/customers/search", {"limit": 0}, "limit", "greater than"),
    ("/customers/search", {"limit": 1001}, "limit", "less than"),
    ("/customers/search", {"sort": [{"field": "hash"}]}, "sort[0].field", "one of"),
    ("/customers/search", {"filters": [{"field": "name", "operator": "like", "value": {"string": "x"}}]},
     "filters[0].operator", "one of"),
    ("/customers/search", {"filters": [{"field": "created_at", "operator": "gt", "value": {"date": "x"}}]},
     "filters[0].value", "datetime"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "field", "words"), BAD)
def test_the_field_is_named(client: httpx.Client, path: str, body: dict[str, Any], field: str, words: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told["code"] == "validation_error" or told["code"] == "unknown_zone"
    assert told["details"]["field"] == field
    assert words in told["message"]
    assert told["message"] == told["error"]["message"]
    assert (told["http_status_code"], told["success"]) == (400, False)


MALFORMED = [b"", b"{", b"[1]x", b'{"name": NaN}', b'"text"', b"null", b"\xff\xfe", b"[" * 100_000]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_json(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/customers", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "validation_error"


def test_text_that_postgres_cannot_hold(client: httpx.Client) -> None:
    for text in (r'"a\u0000b"', r'"\ud800"'):
        body = f'{{"external_id": {text}, "name": "x"}}'.encode()
        answer = client.post("/customers", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
    assert client.get("/customers/a%00b").status_code == 400
    assert client.get("/customers", params={"email": "a\x00b"}).status_code == 400


def test_a_body_that_is_not_declared_as_json(client: httpx.Client) -> None:
    answer = client.post("/customers", content=b"external_id=acme", headers={"content-type": "text/plain"})
    assert answer.status_code == 400
    undeclared = client.build_request("POST", "/customers", content=b'{"external_id": "a", "name": "A"}')
    assert client.send(undeclared).status_code == 201


def test_too_large(client: httpx.Client) -> None:
    big = b'{"name": "' + b"x" * 2_000_000 + b'"}'
    declared = client.post("/customers", content=big, headers={"content-type": "application/json"})
    assert (declared.status_code, declared.json()["http_status_code"]) == (413, 413)

    def chunks() -> Any:
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    assert client.post("/customers", content=chunks()).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/customers/cust_x", "/customers/external/nobody", "/meters/meter_x", "/features/feat_x", "/plans/plan_x",
        "/prices/price_x", "/prices/lookup/none", "/taxes/rates/taxrate_x", "/taxes/associations/ta_x",
        "/subscriptions/subs_x", "/invoices/inv_x", "/invoices/inv_x/explain", "/invoices/inv_x/verify",
        "/invoices/inv_x/pdf", "/payments/pay_x", "/payments/pay_x/receipt", "/webhooks/endpoints/endpoint_x",
        "/webhooks/deliveries/wd_x", "/test_clocks/clock_x", "/tenants/tenant_x", "/environments/env_x",
    ],
)  # fmt: skip
def test_unknown_ids(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == "not_found"


def test_natural_keys_are_taken_once(client: httpx.Client) -> None:
    for path, body, field in (
        ("/customers", CUSTOMER, "external_id"),
        ("/plans", {"name": "p", "lookup_key": "pro"}, "lookup_key"),
        ("/features", {"name": "Some thing", "type": "boolean"}, "lookup_key"),
        ("/taxes/rates", RATE, "code"),
        ("/test_clocks", {"name": "c", "frozen_time": "2025-01-01T00:00:00Z"}, "name"),
    ):
        assert client.post(path, json=body).status_code == 201
        again = client.post(path, json=body)
        assert (again.status_code, again.json()["code"]) == (409, "already_exists")
        assert again.json()["details"]["field"] == field


def test_bulk_prices_are_all_or_none(client: httpx.Client) -> None:
    plan = client.post("/plans", json={"name": "p"}).json()["id"]
    good = {**FLAT, "entity_id": plan}
    answer = client.post("/prices/bulk", json={"items": [good, {**good, "meter_id": "meter_x"}]})
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "items[1].meter_id")
    assert client.get(f"/plans/{plan}").json()["prices"] == []


def test_unknown_routes_and_what_is_outside(client: httpx.Client) -> None:
    unknown = client.get("/nothing/here")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    for method, path in (
        ("POST", "/coupons"), ("POST", "/subscriptions/subs_x/pause"),
        ("POST", "/subscriptions/subs_x/change/preview"), ("POST", "/invoices"), ("POST", "/invoices/preview"),
        ("POST", "/events/analytics/v2"), ("GET", "/customers/cust_x/entitlements"), ("DELETE", "/payments/pay_x"),
        ("POST", "/prices/units"), ("PUT", "/tenants/update"), ("POST", "/auth/login"),
    ):  # fmt: skip
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented"), (method, path)


def test_exact_numbers(client: httpx.Client) -> None:
    """JSON numbers keep their digits; text comes back without trailing zeros."""
    plan = client.post("/plans", json={"name": "p"}).json()["id"]
    body = '{"amount": 0.123456789012345, ' + ", ".join(
        f'"{key}": "{value}"' for key, value in {**FLAT, "entity_id": plan}.items() if key != "amount"
    ) + "}"  # fmt: skip
    price = client.post("/prices", content=body.encode(), headers={"content-type": "application/json"}).json()
    assert (price["amount"], price["display_amount"]) == ("0.123456789012345", "$0.123456789012345")
    assert client.get(f"/prices/{price['id']}").json()["amount"] == "0.123456789012345"


def test_a_subscription_that_makes_no_sense_is_not_written(client: httpx.Client) -> None:
    customer = client.post("/customers", json=CUSTOMER).json()["id"]
    plan = client.post("/plans", json={"name": "Pro"}).json()["id"]
    seat = client.post("/prices", json={**FLAT, "entity_id": plan}).json()["id"]
    whole = {**SUBSCRIPTION, "customer_id": customer, "plan_id": plan, "start_date": "2025-01-31T00:00:00Z"}
    for change, field, words in (
        ({"end_date": "2025-01-31T00:00:00Z"}, "end_date", "must be after start_date"),
        ({"currency": "zzz"}, "currency", "ISO 4217"),
        ({"currency": "eur"}, "plan_id", "no price in eur"),
        ({"billing_period": "ONETIME"}, "billing_period", "must recur"),
        ({"billing_period": "FORTNIGHTLY"}, "billing_period", "one of DAILY"),
        ({"billing_period": "ANNUAL"}, "plan_id", "billed ANNUAL or ONETIME"),
        ({"billing_cycle": "calendar", "billing_anchor": "2025-02-01T00:00:00Z"}, "billing_anchor", "must be absent"),
        ({"override_line_items": [{"price_id": "price_x", "quantity": "1"}]}, "override_line_items.price_id",
         "is not one that"),
        ({"override_line_items": [{"price_id": seat, "quantity": "-1"}]}, "override_line_items[0].quantity",
         "equal to 0"),
    ):  # fmt: skip
        answer = client.post("/subscriptions", json={**whole, **change})
        assert answer.status_code == 400, answer.text
        assert (answer.json()["details"]["field"], words in answer.json()["message"]) == (field, True)
    assert client.post("/subscriptions/search", json={"customer_id": customer}).json()["items"] == []
