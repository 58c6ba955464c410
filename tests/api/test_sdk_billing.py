"""The official SDK through a billing story: clock, customer, subscription, events, invoices, payments, documents."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.api.conftest import Tenant
from tests.api.test_sdk_catalog import make_plan_with_prices

START = datetime(2025, 1, 1, tzinfo=UTC)
PATIENCE_SECONDS = 60


class Story:
    """A tenant with a plan, a test clock at 1 January 2025 and one customer on it, subscribed with 3 seats."""

    def __init__(self, sdk: Any, client: httpx.Client, card: str = "pm_card_succeeds") -> None:
        self.sdk, self.client = sdk, client
        sdk.tax_rates.create_tax_rate(code="gst18", name="GST 18 %", percentage_value="18")
        self.plan, self.seat, self.talk = make_plan_with_prices(sdk)
        self.clock = self.post("/test_clocks", {"name": "story", "frozen_time": "2025-01-01T00:00:00Z"}, 201)
        customer = {
            "external_id": "acme",
            "name": "Acme",
            "test_clock_id": self.clock["id"],
            "gateway_payment_method_id": card,
            "payment_gateway": "sandbox",
            "tax_rate_overrides": [{"tax_rate_code": "gst18", "currency": "usd", "auto_apply": True}],
        }
        self.customer = self.post("/customers", customer, 201)
        self.subscription = sdk.subscriptions.create_subscription(
            external_customer_id="acme",
            plan_id=self.plan.id,
            currency="usd",
            billing_period="MONTHLY",
            billing_period_count=1,
            billing_cycle="anniversary",
            start_date=START,
            override_line_items=[{"price_id": self.seat.id, "quantity": "3"}],
        )

    def post(self, path: str, body: dict[str, Any], status: int = 200) -> Any:
        """A plain POST that must answer `status`."""
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def call(self, event_id: str, seconds: str, at: str) -> dict[str, Any]:
        """One call of the voice agent."""
        properties = {"duration_seconds": seconds, "model": "sonic-large"}
        return {
            "event_name": "voice_call",
            "external_customer_id": "acme",
            "event_id": event_id,
            "timestamp": at,
            "properties": properties,
        }

    def advance(self, to: str) -> None:
        """Moves the clock and waits until it is ready."""
        self.post(f"/test_clocks/{self.clock['id']}/advance", {"frozen_time": to})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (clock := self.client.get(f"/test_clocks/{self.clock['id']}").json())["status"] == "advancing":
            assert time.monotonic() < deadline, clock
            time.sleep(0.05)
        assert clock["status"] == "ready", clock

    def invoice(self, **wanted: Any) -> Any:
        """The newest invoice of the subscription that matches."""
        return self.sdk.invoices.query_invoice(subscription_id=self.subscription.id, **wanted).items[0]


@pytest.fixture
def story(sdk: Any, client: httpx.Client) -> Story:
    """The beginning of a story."""
    return Story(sdk, client)


def test_a_month_from_events_to_a_paid_invoice(story: Story, sdk: Any, tenant: Tenant) -> None:
    subscription = story.subscription
    assert (subscription.subscription_status, subscription.version >= 1) == ("active", True)
    assert subscription.current_period_end == datetime(2025, 2, 1, tzinfo=UTC)
    assert [(line.price_id, line.quantity) for line in subscription.line_items] == [
        (story.seat.id, "3"),
        (story.talk.id, "0"),
    ]
    one = sdk.events.ingest_event(**story.call("e-0", "1000", "2025-01-01T12:00:00Z"))
    assert one == {"message": "Event accepted for processing", "event_id": "e-0"}
    story.advance("2025-01-20T00:00:00Z")
    calls = [story.call(f"e-{n}", "10000.5", f"2025-01-{n:02}T10:00:00Z") for n in range(2, 6)]
    assert sdk.events.ingest_events_bulk(events=calls)["message"] == "Events accepted for processing"

    # 1000 + 4 x 10000.5 = 41002: 36000 x 0.0015 + 5002 x 0.0012 + 5 = 54 + 6.0024 + 5 = 65.0024 -> 65.00
    by_meter = sdk.events.get_usage_by_meter(
        meter_id=story.talk.meter_id,
        external_customer_id="acme",
        start_time=START,
        end_time=datetime(2025, 2, 1, tzinfo=UTC),
    )
    assert (by_meter.event_name, by_meter.type, by_meter.value) == ("voice_call", "SUM", 41002)
    days = sdk.events.get_usage_statistics(
        event_name="voice_call",
        aggregation_type="COUNT",
        external_customer_id="acme",
        start_time=START,
        end_time=datetime(2025, 1, 4, tzinfo=UTC),
        window_size="DAY",
    )
    assert [(day.window_size, day.value) for day in days.results] == [
        ("2025-01-01T00:00:00Z", 1),
        ("2025-01-02T00:00:00Z", 1),
        ("2025-01-03T00:00:00Z", 1),
    ]
    so_far = sdk.subscriptions.get_subscription_usage(subscription_id=subscription.id)
    assert (so_far.amount, so_far.display_amount, so_far.charges[0].quantity) == (65.0, "$65.00", 41002)

    story.advance("2025-02-01T01:00:00Z")
    draft = story.client.get(f"/invoices/{story.invoice(invoice_status=['DRAFT']).id}/explain").json()
    assert (draft["invoice_status"], draft["total"], draft["sums"][-1]) == ("DRAFT", "120.95", "Total: 120.95 usd")
    assert [line["amount"] for line in draft["lines"]] == ["37.5", "65"]
    story.advance("2025-02-01T03:00:00Z")
    found = sdk.invoices.query_invoice(external_customer_id="acme").items
    assert [(i.invoice_number, i.subtotal, i.total_tax, i.total, i.payment_status) for i in found] == [
        ("INV-202502-00001", "102.5", "18.45", "120.95", "SUCCEEDED"),  # 3 x 12.50 + 65.00
        ("INV-202501-00001", "37.5", "6.75", "44.25", "SUCCEEDED"),
    ]
    invoice = sdk.invoices.get_invoice(id=found[0].id)
    assert (invoice.amount_due, invoice.amount_paid, invoice.amount_remaining) == ("120.95", "120.95", "0")
    assert [(line.price_id, line.quantity, line.amount) for line in invoice.line_items] == [
        (story.seat.id, "3", "37.5"),
        (story.talk.id, "41002", "65"),
    ]
    assert invoice.taxes[0].tax_amount == "18.45"
    assert invoice.customer.external_id == "acme"
    payments = sdk.payments.list_payments(destination_id=invoice.id).items
    assert [(pay.amount, pay.payment_status, len(pay.attempts)) for pay in payments] == [("120.95", "SUCCEEDED", 1)]
    assert sdk.payments.get_payment(id=payments[0].id).invoice_number == "INV-202502-00001"


def test_documents_explanations_and_verification(story: Story, sdk: Any, client: httpx.Client) -> None:
    story.advance("2025-01-02T00:00:00Z")
    invoice = story.invoice()
    assert sdk.invoices.get_invoice_pdf(id=invoice.id).read().startswith(b"%PDF-")
    link = client.get(f"/invoices/{invoice.id}/pdf", params={"url": "true"}).json()["presigned_url"]
    fetched = httpx.get(link)  # without a key: the link is the proof
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "application/pdf"
    assert fetched.content == sdk.invoices.get_invoice_pdf(id=invoice.id, force_generate=True).read()
    assert httpx.get(link.replace("signature=", "signature=0")).status_code == 403
    explained = client.get(f"/invoices/{invoice.id}/explain").json()
    assert any("37.50" in line for line in explained["text"])
    line = explained["lines"][0]
    assert (line["amount"], line["title"]) == ("37.5", line["text"][0])
    assert [part["exact"] for part in line["sections"][0]["parts"]] == ["75/2"]  # 3 x 12.50
    assert explained["sums"][-1] == "Total: 44.25 usd"
    verified = client.get(f"/invoices/{invoice.id}/verify").json()
    assert verified == {"invoice_id": invoice.id, "verified": True, "differences": []}


def test_cancel_at_once_credits_and_bills(story: Story, sdk: Any) -> None:
    story.advance("2025-01-16T12:00:00Z")
    answer = sdk.subscriptions.cancel_subscription(
        id=story.subscription.id, cancellation_type="immediate", proration_behavior="create_prorations", reason="moves"
    )
    assert (answer.status, answer.effective_date) == ("cancelled", datetime(2025, 1, 16, 12, tzinfo=UTC))
    # 37.50 x 15.5 / 31 = 18.75
    assert answer.total_credit_amount == "18.75"
    assert sdk.subscriptions.get_subscription(id=story.subscription.id).subscription_status == "cancelled"
    again = story.client.post(f"/subscriptions/{story.subscription.id}/cancel", json={"cancellation_type": "immediate"})
    assert again.status_code == 409, again.text
    assert again.json()["details"]["state"] == "cancelled"


def test_cancel_at_the_period_end(story: Story, sdk: Any) -> None:
    answer = sdk.subscriptions.cancel_subscription(id=story.subscription.id, cancellation_type="end_of_period")
    assert (answer.status, answer.effective_date) == ("active", datetime(2025, 2, 1, tzinfo=UTC))
    assert answer.proration_details == []
    read = sdk.subscriptions.get_subscription(id=story.subscription.id)
    assert (read.cancel_at_period_end, read.cancel_at) == (True, datetime(2025, 2, 1, tzinfo=UTC))
    story.advance("2025-02-02T00:00:00Z")
    found = sdk.subscriptions.query_subscription(external_customer_id="acme", subscription_status=["cancelled"])
    assert [each.id for each in found.items] == [story.subscription.id]


def test_finalize_pay_and_void_by_hand(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client, card="pm_card_declines_soft")
    story.advance("2025-02-01T00:30:00Z")
    draft = story.invoice(invoice_status=["DRAFT"])
    opening = story.invoice(invoice_status=["FINALIZED"])
    assert sdk.invoices.finalize_invoice(id=draft.id).message
    finalized = sdk.invoices.get_invoice(id=draft.id)
    assert (finalized.invoice_status, finalized.amount_due) == ("FINALIZED", "44.25")

    sdk.invoices.attempt_invoice_payment(id=opening.id)
    payment = sdk.payments.list_payments(destination_id=opening.id).items[0]
    assert len(payment.attempts) == 7  # at issue, after 1, 3, 5, 7 and 14 days, and by hand

    paid = sdk.payments.create_payment(
        destination_type="INVOICE",
        destination_id=opening.id,
        payment_method_type="OFFLINE",
        amount="4.25",
        currency="usd",
        idempotency_key="transfer-1",
    )
    assert (paid.payment_status, paid.amount) == ("SUCCEEDED", "4.25")
    settled = sdk.invoices.update_invoice_payment_status(id=opening.id, payment_status="SUCCEEDED")
    assert (settled.payment_status, settled.amount_remaining) == ("SUCCEEDED", "0")
    assert client.post(f"/invoices/{opening.id}/payment/attempt").status_code == 409

    assert sdk.invoices.void_invoice(id=draft.id).message
    assert sdk.invoices.get_invoice(id=draft.id).invoice_status == "VOIDED"
    refused = client.post(f"/invoices/{draft.id}/finalize")
    assert refused.status_code == 409
    assert refused.json()["details"]["state"] == "VOIDED"


def test_a_card_that_is_dead_is_replaced(sdk: Any, client: httpx.Client) -> None:
    story = Story(sdk, client, card="pm_card_declines_hard")
    story.advance("2025-01-02T00:00:00Z")
    opening = story.invoice(invoice_status=["FINALIZED"])
    assert opening.payment_status == "FAILED"

    path = f"/subscriptions/{story.subscription.id}/payment_method"
    unknown = {"gateway_payment_method_id": "pm_card_succeeds", "payment_gateway": "piggybank"}
    refused = client.put(path, json=unknown)
    assert refused.status_code == 400
    assert refused.json()["details"]["field"] == "payment_gateway"

    changed = client.put(path, json={"gateway_payment_method_id": "pm_card_succeeds", "payment_gateway": "sandbox"})
    assert changed.status_code == 200
    assert changed.json()["gateway_payment_method_id"] == "pm_card_succeeds"  # and charged at once
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sdk.invoices.get_invoice(id=opening.id).payment_status != "SUCCEEDED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
