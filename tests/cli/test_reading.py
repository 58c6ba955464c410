"""The commands that speak to the API: what they ask, what they show, how they end."""

from pathlib import Path
from typing import Any

import pytest

from starter.cli.output import amount
from tests.cli.conftest import Run, WrittenApi

INVOICE: dict[str, Any] = {
    "id": "inv_1",
    "invoice_number": "INV-202502-00001",
    "customer_id": "cust_1",
    "customer": {"name": "Northwind Labs", "external_id": "northwind-labs"},
    "currency": "usd",
    "subtotal": "1234.5",
    "total_tax": "222.21",
    "total": "1456.71",
    "invoice_status": "FINALIZED",
    "payment_status": "SUCCEEDED",
    "period_start": "2025-01-01T05:00:00Z",
    "period_end": "2025-02-01T05:00:00Z",
    "paid_at": "2025-02-01T07:00:00Z",
    "line_items": [{"display_name": "Seats", "quantity": "12", "amount": "150", "currency": "usd"}],
}


def test_a_list_is_a_table_for_a_person(api: WrittenApi, run: Run) -> None:
    api.items("/invoices", INVOICE)
    ended = run("invoices", "list")
    assert ended.code == 0
    for text in ("INV-202502-00001", "Northwind Labs", "1,456.71 USD", "2025-01-01 - 2025-02-01", "2025-02-01 07:00"):
        assert text in ended.out
    assert api.seen[0].headers["x-api-key"] == "sk_test"


def test_a_list_is_json_for_a_script(api: WrittenApi, run: Run) -> None:
    api.items("/invoices", INVOICE)
    assert run("invoices", "list", "--json").data == [INVOICE]


def test_a_list_is_read_page_by_page(api: WrittenApi, run: Run) -> None:
    for offset, size in ((0, 200), (200, 50)):
        customers = [{"id": f"cust_{offset + n}"} for n in range(size)]
        api.answer("GET", "/customers", {"items": customers, "pagination": {"total": 250, "offset": offset}})
    assert len(run("customers", "list", "--limit", "1000", "--json").data) == 250
    assert [seen.query["offset"] for seen in api.seen] == [["0"], ["200"]]


@pytest.mark.parametrize(
    ("customer", "query"), [("cust_1", {"customer_id": ["cust_1"]}), ("acme", {"external_customer_id": ["acme"]})]
)
def test_a_customer_goes_by_either_id(api: WrittenApi, run: Run, customer: str, query: dict[str, list[str]]) -> None:
    api.items("/subscriptions")
    ended = run("subscriptions", "list", "--customer", customer)
    assert "Nothing found." in ended.out
    assert query.items() <= api.seen[0].query.items()


def test_an_invoice_goes_by_number(api: WrittenApi, run: Run) -> None:
    api.items("/invoices", INVOICE)
    ended = run("invoices", "show", "INV-202502-00001")
    assert ended.code == 0
    assert api.seen[0].query["invoice_number"] == ["INV-202502-00001"]
    assert "Seats" in ended.out
    assert "1,234.50 USD" in ended.out
    del api.answers["GET", "/invoices"]
    api.items("/invoices")
    unknown = run("invoices", "show", "INV-202502-00009")
    assert unknown.code == 1
    assert "No invoice has the number INV-202502-00009" in unknown.err


def test_an_explanation_is_shown_part_by_part(api: WrittenApi, run: Run) -> None:
    api.items("/invoices", INVOICE)
    window = {"name": "2025-01-01 to 2025-01-08", "quantity": "36000", "billable": "36000"}
    tier = {"label": "tier 1 (from 0 up to 36000)", "how": "36000 x 0.0015", "amount": "54"}
    off = {"label": "discount half", "how": "50 % of 54 = 27", "amount": "-27"}
    sections = [
        {"figure": "amount", "notes": ["usage: 36000"], "windows": [window], "parts": [tier]},
        {"figure": "discount", "notes": [], "windows": [], "parts": [off]},
    ]
    line = {"title": "Talk time: 54.00 usd", "amount": "54", "sections": sections}
    words = {"lines": [line], "sums": ["Total: 27.00 usd"]}
    explanation = {"invoice_id": "inv_1", "invoice_number": "INV-202502-00001", **words}
    api.answer("GET", "/invoices/inv_1/explain", explanation)
    shown = run("invoices", "explain", "INV-202502-00001")
    assert shown.code == 0
    rows = [" ".join(line.split()) for line in shown.out.splitlines() if set(line) - set(" ─")]
    assert rows == [
        "INV-202502-00001: why this amount?",
        "1. Talk time: 54.00 usd",
        "usage: 36000",
        "Window Used Billable",
        "2025-01-01 to 2025-01-08 36000 36000",
        "What How Amount",
        "tier 1 (from 0 up to 36000) 36000 x 0.0015 54",
        "Amount 54",
        "discount half 50 % of 54 = 27 -27",
        "Net of discounts 27",
        "Total: 27.00 usd",
    ]
    assert run("invoices", "explain", "INV-202502-00001", "--json").data == explanation


def test_an_invoice_without_a_line_says_so(api: WrittenApi, run: Run) -> None:
    api.items("/invoices", INVOICE)
    api.answer("GET", "/invoices/inv_1/explain", {"invoice_id": "inv_1", "lines": [], "sums": []})
    assert "Nothing was due in this period." in run("invoices", "explain", "INV-202502-00001").out


def test_an_invoice_that_differs_from_its_inputs_ends_in_1(api: WrittenApi, run: Run) -> None:
    api.answer("GET", "/invoices/inv_1", INVOICE)
    api.answer("GET", "/invoices/inv_1/verify", {"verified": True, "differences": []})
    api.answer("GET", "/invoices/inv_1/verify", {"verified": False, "differences": ["total: 10 stored, 11 computed"]})
    right, wrong = run("invoices", "verify", "inv_1"), run("invoices", "verify", "inv_1")
    assert (right.code, wrong.code) == (0, 1)
    assert "equal to the last digit" in right.out
    assert "total: 10 stored, 11 computed" in wrong.out


def test_a_pdf_is_saved_under_its_number(api: WrittenApi, run: Run) -> None:
    api.answer("GET", "/invoices/inv_1", INVOICE)
    api.answer("GET", "/invoices/inv_1/pdf", b"%PDF-1.7 ...")
    ended = run("invoices", "pdf", "inv_1")
    assert (ended.code, ended.out) == (0, "INV-202502-00001.pdf\n")
    assert Path("INV-202502-00001.pdf").read_bytes() == b"%PDF-1.7 ..."
    api.answers[("GET", "/invoices/inv_1/pdf")] = [(200, {"presigned_url": "https://s3/x?signature=y"})]
    assert run("invoices", "pdf", "inv_1", "--url").out == "https://s3/x?signature=y\n"


def test_the_apis_refusal_is_shown_and_ends_in_1(api: WrittenApi, run: Run) -> None:
    message = "the subscription is canceled; possible: nothing"
    api.answer("POST", "/subscriptions/subs_1/cancel", {"code": "conflict", "message": message}, status=409)
    ended = run("subscriptions", "cancel", "subs_1", "--at", "now", "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"Error: {message}\n"


def test_a_busy_api_is_asked_again_under_the_same_key(api: WrittenApi, run: Run) -> None:
    api.answer("POST", "/subscriptions/subs_1/cancel", {"message": "busy"}, status=503)
    answer = {"subscription_id": "subs_1", "status": "active", "effective_date": "2025-03-01T00:00:00Z"}
    api.answer("POST", "/subscriptions/subs_1/cancel", answer)
    ended = run("subscriptions", "cancel", "subs_1", "--at", "period-end", "--no-prorate", "--yes")
    assert (ended.code, ended.out) == (0, "subs_1 is active, effective 2025-03-01 00:00 UTC.\n")
    first, second = api.seen
    assert first.body == {"cancellation_type": "end_of_period", "proration_behavior": "none"}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_wrong_key_is_explained(api: WrittenApi, run: Run) -> None:
    api.answer("GET", "/customers", {"error": "Invalid API key"}, status=401)
    ended = run("customers", "list")
    assert ended.code == 1
    assert ended.err == "Error: Invalid API key: DURABILL_API_KEY is not a valid key of this API.\n"


def test_no_key_and_no_api_are_one_sentence_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run("customers", "list")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "DURABILL_API_KEY is not set" in ended.err
    monkeypatch.setenv("DURABILL_API_KEY", "sk_test")
    monkeypatch.setenv("DURABILL_URL", "http://127.0.0.1:9")
    ended = run("customers", "list")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "http://127.0.0.1:9 cannot be reached" in ended.err


def test_the_key_of_the_demo_is_found_beside_it(api: WrittenApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DURABILL_URL", "DURABILL_API_KEY"):
        monkeypatch.delenv(name)
    Path(".durabill").mkdir()
    Path(".durabill/credentials.json").write_text(f'{{"url": "{api.url}", "api_key": "sk_demo"}}')
    api.items("/customers")
    assert run("customers", "list").code == 0
    assert api.seen[0].headers["x-api-key"] == "sk_demo"


@pytest.mark.parametrize(
    "arguments",
    [
        ("invoices", "lst"),
        ("invoices", "show"),
        ("subscriptions", "cancel", "subs_1", "--at", "tomorrow"),
        ("subscriptions", "cancel", "subs_1", "--at", "some-day", "--yes"),
        ("usage", "show"),
        ("webhooks", "replay"),
        ("webhooks", "replay", "wd_1", "--failed"),
        ("webhooks", "replay", "--until", "2026-03-01T08:00:00Z"),
        ("customers", "list", "--limit", "0"),
    ],
)
def test_wrong_usage_ends_in_2(run: Run, arguments: tuple[str, ...]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert ended.err


def test_a_clock_goes_by_name_and_is_waited_for(api: WrittenApi, run: Run) -> None:
    api.items("/test_clocks", {"id": "clock_1", "name": "demo"})
    api.answer("POST", "/test_clocks/clock_1/advance", {"id": "clock_1", "status": "advancing"})
    ready = {"id": "clock_1", "name": "demo", "status": "ready", "frozen_time": "2025-03-01T00:00:00Z"}
    api.answer("GET", "/test_clocks/clock_1", ready)
    ended = run("clock", "advance", "demo", "--to", "2025-03-01T00:00:00Z")
    assert (ended.code, ended.out) == (0, "demo is ready at 2025-03-01T00:00:00Z.\n")
    assert api.seen[1].body == {"frozen_time": "2025-03-01T00:00:00Z"}


def test_a_clock_that_fails_says_why(api: WrittenApi, run: Run) -> None:
    failed = {
        "id": "clock_1",
        "status": "internal_failure",
        "frozen_time": "2025-02-01T00:00:00Z",
        "problem": "no usage",
    }
    api.answer("POST", "/test_clocks/clock_1/advance", {"id": "clock_1", "status": "advancing"})
    api.answer("GET", "/test_clocks/clock_1", failed)
    ended = run("clock", "advance", "clock_1", "--to", "2025-03-01T00:00:00Z")
    assert ended.code == 1
    assert ended.err.endswith("Error: The clock has stopped at 2025-02-01T00:00:00Z: no usage\n")


def test_what_has_failed_is_sent_again(api: WrittenApi, run: Run) -> None:
    api.items("/webhooks/deliveries", {"id": "wd_1", "last_status_code": 500}, {"id": "wd_2", "last_error": "timeout"})
    api.answer("POST", "/webhooks/deliveries/wd_1/replay", {"id": "wd_1"})
    api.answer("POST", "/webhooks/deliveries/replay", {"replayed": 2})
    assert "timeout" in run("webhooks", "deliveries", "--status", "failed").out
    one = run("webhooks", "replay", "wd_1")
    assert (one.code, one.out) == (0, "wd_1 is being sent again\n")
    ended = run("webhooks", "replay", "--failed", "--endpoint", "endpoint_1")
    assert (ended.code, ended.out) == (0, "2 deliveries are being sent again\n")
    asked = api.seen[-1].body
    assert (asked["delivery_status"], asked["endpoint_id"]) == ("failed", "endpoint_1")
    run("webhooks", "replay", "--since", "2026-03-01T08:00:00Z", "--until", "2026-03-01T09:00:00Z")
    assert api.seen[-1].body == {"start_time": "2026-03-01T08:00:00Z", "end_time": "2026-03-01T09:00:00Z"}


def test_usage_of_a_subscription_and_of_a_meter(api: WrittenApi, run: Run) -> None:
    charge = {"meter_display_name": "Talk", "quantity": 1200.5, "amount": 1.8, "currency": "usd"}
    api.answer("POST", "/subscriptions/usage", {"amount": 1.8, "currency": "usd", "charges": [charge]})
    shown = run("usage", "show", "--subscription", "subs_1").out
    assert "Talk" in shown
    assert "1200.5" in shown
    assert "1.80 USD" in shown
    api.answer("POST", "/events/usage/meter", {"type": "SUM", "event_name": "voice_call"})
    ended = run("usage", "show", "--meter", "meter_1", "--customer", "acme")
    assert ended.out == "SUM of voice_call: 0\n"
    assert api.seen[-1].body == {"meter_id": "meter_1", "external_customer_id": "acme"}


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        ("1234.5", "usd", "1,234.50 USD"),
        ("-0.05", "eur", "-0.05 EUR"),
        ("1200", "jpy", "1,200 JPY"),
        ("1.234", "kwd", "1.234 KWD"),
        ("0.00125", "usd", "0.00125 USD"),  # more digits than the currency has are not hidden
        (None, "usd", ""),
    ],
)
def test_amounts(value: str | None, currency: str, shown: str) -> None:
    assert amount(value, currency) == shown


def test_an_invoice_is_credited_by_its_number(api: WrittenApi, run: Run) -> None:
    note = {
        "id": "cn_1", "credit_note_number": "CN-202502-00001", "invoice_id": "inv_1", "credit_note_type": "ADJUSTMENT",
        "credit_note_status": "FINALIZED", "reason": "SERVICE_ISSUE", "currency": "usd", "total_amount": "10.5",
        "tax_amount": "1.6", "finalized_at": "2025-02-03T00:00:00Z",
        "line_items": [{"display_name": "Seats", "amount": "10.5", "explanation": ["because"]}],
    }  # fmt: skip
    api.items("/invoices", INVOICE)
    api.answer("POST", "/creditnotes", note)
    ended = run("credit-notes", "create", "INV-202502-00001", "10.50", "--reason", "service-issue", "--key", "k")
    assert (ended.code, api.seen[1].headers["idempotency-key"]) == (0, "k")
    for text in ("CN-202502-00001", "10.50 USD", "1.60 USD", "Seats", "because"):
        assert text in ended.out
    api.items("/creditnotes", note)
    assert "CN-202502-00001" in run("credit-notes", "list").out
