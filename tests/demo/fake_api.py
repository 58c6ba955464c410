"""A memory-only API for the tests of the demo's runner: it stores, lists and notes what it is asked. It bills nothing.

It answers invoices from the golden file as its clock passes them. Whether durabill makes those invoices is tested on
the running stack; here it is whether the runner asks for the right things, in time and once.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from standardwebhooks import Webhook

from starter.demo.golden.derivation import CUSTOMERS
from starter.demo.invoices import golden_invoices

Json = dict[str, Any]
SECRET = "whsec_" + "ZHVyYWJpbGwgZGVtbyB0ZXN0IHNlY3JldA=="
BOUNDARIES = {customer.external_id: customer.boundaries() for customer in CUSTOMERS}


class PowerCut(BaseException):
    """The demo's process ends here."""


class FakeApi:
    """An `httpx.MockTransport` handler with the state of one tenant."""

    def __init__(self) -> None:
        self.stored: dict[str, list[Json]] = {}
        self.created: Counter[str] = Counter()
        self.uploads: list[tuple[datetime, list[Json]]] = []
        self.announced: set[str] = set()
        self.requests_left = 10**9
        self.busy_answers = 0
        self._sender = httpx.Client(trust_env=False, verify=False)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "files.test":
            assert "x-api-key" not in request.headers
            return httpx.Response(200, content=b"%PDF-1.7 ...")
        assert request.headers["x-api-key"] == "sk_test"
        self.requests_left -= 1
        if self.requests_left < 0:
            raise PowerCut
        if self.busy_answers:
            self.busy_answers -= 1
            return httpx.Response(503, headers={"retry-after": "1"}, json={"message": "come back"})
        parts = request.url.path.removeprefix("/v1/").split("/")
        if request.method == "GET":
            return self._get(parts, request.url.params)
        if request.method == "DELETE":
            self.stored["webhooks/endpoints"].clear()
            return httpx.Response(200, json={"message": "deleted"})
        if request.method == "PUT":
            return httpx.Response(200, json=json.loads(request.content))
        return self._post(parts, json.loads(request.content))

    @property
    def now(self) -> datetime:
        return datetime.fromisoformat(self.stored["test_clocks"][0]["frozen_time"])

    def _get(self, parts: list[str], params: httpx.QueryParams) -> httpx.Response:
        if parts[0] == "invoices":
            return self._get_invoice(parts, params)
        if parts[0] == "payments":
            return _page([self._payment(invoice) for invoice in self._invoices()], params)
        if parts[0] == "test_clocks" and len(parts) == 2:
            clock = self.stored["test_clocks"][0]
            answer = dict(clock)
            clock["status"] = "ready"
            return httpx.Response(200, json=answer)
        return _page(self.stored.get("/".join(parts), []), params)

    def _post(self, parts: list[str], body: Json) -> httpx.Response:
        path = "/".join(parts)
        if path == "events/bulk":
            assert 1 <= len(body["events"]) <= 1000
            self.uploads.append((self.now, body["events"]))
            return httpx.Response(202, json={"message": "Events accepted for processing"})
        if parts[-1] == "advance":
            return self._advance(datetime.fromisoformat(body["frozen_time"]))
        made = {"id": f"{parts[-1]}-{len(self.stored.get(path, [])) + 1}", **body}
        if path == "features":
            made["meter_id"] = f"meter_{body['lookup_key']}"
        if path == "test_clocks":
            made["status"] = "ready"
        if path == "webhooks/endpoints":
            made["secret"] = SECRET
        if path == "subscriptions":
            made = self._subscription(made)
        self.stored.setdefault(path, []).append(made)
        self.created[path] += 1
        return httpx.Response(201, json=made)

    def _subscription(self, made: Json) -> Json:
        external_id = made["external_customer_id"]
        [customer] = [c for c in self.stored["customers"] if c["external_id"] == external_id]
        start = datetime.fromisoformat(made["start_date"])
        assert start == self.now, "a subscription is made when the clock has come to its start"
        end = BOUNDARIES[external_id][1]
        return {**made, "customer_id": customer["id"], "current_period_end": end.isoformat()}

    def _advance(self, to: datetime) -> httpx.Response:
        clock = self.stored["test_clocks"][0]
        assert clock["status"] == "ready"
        assert self.now < to <= self.now + timedelta(days=31)
        clock.update(frozen_time=to.isoformat(), status="advancing")
        for subscription in self.stored.get("subscriptions", []):
            ends = BOUNDARIES[subscription["external_customer_id"]]
            subscription["current_period_end"] = next(end for end in ends if end > to).isoformat()
        self._announce()
        return httpx.Response(200, json=clock)

    def _announce(self) -> None:
        [endpoint] = self.stored["webhooks/endpoints"]
        for invoice in self._invoices():
            if invoice["number"] not in self.announced:
                self.announced.add(invoice["number"])
                body = json.dumps({"event_type": "invoice.update.finalized", "invoice": {"id": invoice["number"]}})
                message_id, at = f"sys_event_{invoice['number']}", datetime.now(UTC)
                headers = {
                    "webhook-id": message_id,
                    "webhook-timestamp": str(int(at.timestamp())),
                    "webhook-signature": Webhook(SECRET).sign(message_id, at, body),
                }
                for _ in range(2):  # delivered at least once means: sometimes twice
                    assert self._sender.post(endpoint["url"], content=body, headers=headers).status_code == 204

    def _invoices(self) -> list[Json]:
        return [invoice for invoice in golden_invoices() if datetime.fromisoformat(invoice["paid_at"]) <= self.now]

    def _get_invoice(self, parts: list[str], params: httpx.QueryParams) -> httpx.Response:
        if len(parts) == 1:
            return _page([self._wire(invoice) for invoice in self._invoices()], params)
        [invoice] = [self._wire(i) for i in self._invoices() if f"inv_{i['number']}" == parts[1]]
        if parts[-1] == "pdf":
            return httpx.Response(200, json={"presigned_url": f"http://files.test/{parts[1]}.pdf?signature=x"})
        return httpx.Response(200, json=invoice)

    def _wire(self, invoice: Json) -> Json:
        customers = {customer["external_id"]: customer["id"] for customer in self.stored["customers"]}
        prices = {price["lookup_key"]: price["id"] for price in self.stored["prices"]}
        return {
            "id": f"inv_{invoice['number']}",
            "tenant_id": "tenant_1",
            "customer_id": customers[invoice["customer"]],
            "invoice_number": invoice["number"],
            "billing_reason": invoice["reason"],
            "period_start": invoice["period_start"],
            "period_end": invoice["period_end"],
            "line_items": [{**line, "price_id": prices[line["price"]]} for line in invoice["lines"]],
            "subtotal": invoice["subtotal"],
            "total_tax": invoice["tax"],
            "total": invoice["total"],
            "invoice_status": invoice["status"],
            "finalized_at": invoice["finalized_at"],
            "payment_status": invoice["payment_status"],
            "paid_at": invoice["paid_at"],
        }

    @staticmethod
    def _payment(invoice: Json) -> Json:
        attempts = [
            {"attempt_number": number, "payment_status": status}
            for number, status in enumerate(invoice["attempts"], start=1)
        ]
        return {
            "id": f"pay_{invoice['number']}",
            "destination_id": f"inv_{invoice['number']}",
            "attempts": attempts[::-1],
        }


def _page(items: list[Json], params: httpx.QueryParams) -> httpx.Response:
    offset, limit = int(params["offset"]), min(int(params["limit"]), 20)
    return httpx.Response(
        200,
        json={
            "items": items[offset : offset + limit],
            "pagination": {"total": len(items), "limit": limit, "offset": offset},
        },
    )
