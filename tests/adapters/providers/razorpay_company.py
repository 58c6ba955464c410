"""Razorpay as far as our adapter uses it: orders, recurring payments, links, refunds, signed events.

Written from Razorpay's public documentation. Honest about what it does not do: receipts need not be unique, and a
payment has no idempotency key; an order is paid once, a link's reference id and a refund's key are unique.
"""

import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

from .company import Answered, Asked, Company, Json, Webhook

KEY_ID, KEY_SECRET = "rzp_test_fake", "fake_secret"
SECRET = "webhook_secret_of_razorpay"
CUSTOMER = "cust_fake"

OK = "token_card"
SOFT = "token_empty"
HARD = "token_blocked"
UPI = "token_upi"
CANCELLED = "token_cancelled"
PAUSED = "token_paused"
ONCE = "token_saved_for_checkout"
DECLINES = {SOFT: "insufficient_funds", HARD: "debit_instrument_blocked"}
TOKENS: dict[str, Json] = {
    **{token: {"recurring": True, "recurring_details": {"status": "confirmed"}} for token in (OK, SOFT, HARD, UPI)},
    CANCELLED: {"recurring": True, "recurring_details": {"status": "cancelled"}},
    PAUSED: {"recurring": True, "recurring_details": {"status": "paused"}},
    ONCE: {"recurring": False},
}


class RazorpayCompany(Company):
    """One account."""

    def __init__(self) -> None:
        self.orders: dict[str, Json] = {}
        self.payments: dict[str, Json] = {}
        self.links: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.refund_keys: dict[str, str] = {}
        super().__init__()

    def taken(self, invoice_id: str) -> list[int]:
        return [
            payment["amount"] - payment["amount_refunded"]
            for payment in self.payments.values()
            if payment["status"] in ("captured", "refunded") and payment["notes"].get("invoice_id") == invoice_id
        ]

    def answer(self, asked: Asked) -> Json:
        basic = b64encode(f"{KEY_ID}:{KEY_SECRET}".encode()).decode()
        if asked.headers.get("authorization") != f"Basic {basic}":
            raise _error(401, "Authentication failed")
        match (asked.method, *asked.path.split("/")[2:]):
            case ("GET", "orders"):
                return _collection(self.orders, lambda order: order["receipt"] == asked.fields["receipt"])
            case ("POST", "orders"):
                return self._order(asked.fields["receipt"], asked)
            case ("GET", "orders", order_id, "payments"):
                return _collection(self.payments, lambda payment: payment["order_id"] == order_id)
            case ("POST", "payments", "create", "recurring"):
                return self._recurring(asked)
            case ("GET", "customers", customer_id):
                return {"id": _known(customer_id, CUSTOMER), "email": "ann@example.com", "contact": "+919000000000"}
            case ("GET", "customers", _, "tokens", token):
                return {"id": token, **TOKENS[_known(token, *TOKENS)]}
            case _:
                return self._more(asked)

    def _more(self, asked: Asked) -> Json:
        match (asked.method, *asked.path.split("/")[2:]):
            case ("GET", "payment_links"):
                wanted = asked.fields["reference_id"]
                return {"payment_links": [each for each in self.links.values() if each["reference_id"] == wanted]}
            case ("POST", "payment_links"):
                return self._link(asked)
            case ("POST", "payment_links", link_id, "cancel"):
                return self._cancel(self.links[_known(link_id, *self.links)])
            case ("GET", "payment_links", link_id):
                return self.links[_known(link_id, *self.links)]
            case ("GET", "payments"):
                return self._payments_between(asked)
            case ("GET", "payments", payment_id):
                return self.payments[_known(payment_id, *self.payments)]
            case ("GET", "payments", payment_id, "refunds"):
                _known(payment_id, *self.payments)
                return _collection(self.refunds, lambda refund: refund["payment_id"] == payment_id)
            case ("POST", "payments", payment_id, "refund"):
                return self._refund(_known(payment_id, *self.payments), asked)
        raise _error(404, f"The requested URL was not found: {asked.path}")

    def _payments_between(self, asked: Asked) -> Json:
        since, until = int(asked.fields["from"]), int(asked.fields["to"])
        found = _collection(self.payments, lambda payment: since <= payment["created_at"] <= until)
        skip, count = int(asked.fields["skip"]), int(asked.fields["count"])
        items = found["items"][skip : skip + count]
        return {**found, "count": len(items), "items": items}

    def _order(self, receipt: str, asked: Asked) -> Json:
        assert len(receipt) <= 40
        fields = asked.fields
        order = {
            "id": self.new_id("order"),
            "receipt": receipt,
            "amount": fields["amount"],
            "currency": fields["currency"],
            "notes": fields["notes"] or [],
            "status": "created",
            "created_at": int(time.time()),
        }
        self.orders[order["id"]] = order
        return order

    def _recurring(self, asked: Asked) -> Json:
        fields = asked.fields
        order = self.orders[_known(fields["order_id"], *self.orders)]
        if order["status"] == "paid":
            raise _error(400, "Payment already done for this order.")
        if (fields["amount"], fields["currency"]) != (order["amount"], order["currency"]) or not fields["recurring"]:
            raise _error(400, "Your payment amount is different from your order amount.")
        assert fields["email"]
        assert fields["contact"]
        payment = self._payment(order, fields["notes"])
        if fields["token"] in DECLINES:
            reason = DECLINES[fields["token"]]
            self._failed(payment, reason)
            metadata = {"payment_id": payment["id"], "order_id": order["id"]}
            raise _error(400, "Your payment could not be completed.", reason=reason, metadata=metadata)
        if fields["token"] != UPI:
            self._captured(payment)
        return {"razorpay_payment_id": payment["id"], "razorpay_order_id": order["id"]}

    def _payment(self, order: Json, notes: Json) -> Json:
        payment: Json = {
            "id": self.new_id("pay"),
            "order_id": order["id"],
            "amount": order["amount"],
            "amount_refunded": 0,
            "currency": order["currency"],
            "status": "created",
            "notes": notes,
            "created_at": int(time.time()),
            "error_reason": None,
        }
        self.payments[payment["id"]] = payment
        return payment

    def _captured(self, payment: Json) -> None:
        order = self.orders[payment["order_id"]]
        payment["status"] = "authorized"
        self._tell("payment.authorized", payment=payment)
        payment["status"], order["status"] = "captured", "paid"
        self._tell("payment.captured", payment=payment)
        self._tell("order.paid", payment=payment, order=order)

    def _failed(self, payment: Json, reason: str) -> None:
        payment |= {"status": "failed", "error_code": "BAD_REQUEST_ERROR", "error_reason": reason}
        self._tell("payment.failed", payment=payment)

    def finish(self, payment_id: str, approved: bool) -> None:
        """The bank has debited a mandate, or refused."""
        payment = self.payments[payment_id]
        if approved:
            self._captured(payment)
        else:
            self._failed(payment, "insufficient_funds")

    def _link(self, asked: Asked) -> Json:
        reference = asked.fields["reference_id"]
        assert len(reference) <= 40
        if any(link["reference_id"] == reference for link in self.links.values()):
            raise _error(400, f"payment link with given reference_id: ({reference}) already exists")
        order = self._order(reference, asked)
        link = {
            "id": self.new_id("plink"),
            "reference_id": reference,
            "order_id": order["id"],
            "amount": order["amount"],
            "currency": order["currency"],
            "notes": asked.fields["notes"],
            "status": "created",
            "payments": None,
        }
        link["short_url"] = f"{self.url}/pay/{link['id']}"
        self.links[link["id"]] = link
        return link

    def _cancel(self, link: Json) -> Json:
        if link["status"] != "created":
            raise _error(400, "Payment link cannot be cancelled in its state")
        link["status"] = "cancelled"
        self._tell("payment_link.cancelled", payment_link=link)
        return link

    def visit(self, link_id: str, approved: bool) -> None:
        """The customer opens the link and pays; or fails once, and the link is cancelled."""
        link = self.links[link_id]
        payment = self._payment(self.orders[link["order_id"]], link["notes"])
        if approved:
            self._captured(payment)
            link |= {"status": "paid", "payments": [{"payment_id": payment["id"], "status": "captured"}]}
            self._tell("payment_link.paid", payment=payment, payment_link=link)
            return
        self._failed(payment, "authentication_failed")
        link["status"] = "cancelled"
        self._tell("payment_link.cancelled", payment_link=link)

    def _refund(self, payment_id: str, asked: Asked) -> Json:
        key, amount = asked.headers["x-refund-idempotency"], asked.fields["amount"]
        if key in self.refund_keys:
            known = self.refunds[self.refund_keys[key]]
            if known["amount"] != amount:
                raise _error(400, "Different request body sent for the same idempotency key")
            return known
        payment = self.payments[payment_id]
        if payment["amount_refunded"] + amount > payment["amount"]:
            raise _error(400, "The total refund amount is greater than the refund payment amount")
        payment["amount_refunded"] += amount
        refund = {
            "id": self.new_id("rfnd"),
            "payment_id": payment_id,
            "amount": amount,
            "currency": payment["currency"],
            "receipt": asked.fields["receipt"],
            "notes": asked.fields["notes"],
            "status": "processed",
        }
        self.refunds[refund["id"]] = refund
        self.refund_keys[key] = refund["id"]
        return refund

    def _tell(self, event_type: str, **entities: Json) -> None:
        event = {
            "entity": "event",
            "event": event_type,
            "contains": list(entities),
            "created_at": int(time.time()),
            "payload": {name: {"entity": dict(entity)} for name, entity in entities.items()},
        }
        self.webhooks.append(signed(json.dumps(event).encode(), self.new_id("evt")))


def signed(body: bytes, event_id: str = "evt_1", secret: str = SECRET) -> Webhook:
    """The webhook as Razorpay sends it."""
    digest = hmac.new(secret.encode(), body, sha256).hexdigest()
    return Webhook({"X-Razorpay-Signature": digest, "x-razorpay-event-id": event_id}, body)


def _collection(entities: dict[str, Json], wanted: Callable[[Json], bool]) -> Json:
    items = [dict(entity) for entity in reversed(entities.values()) if wanted(entity)]
    return {"entity": "collection", "count": len(items), "items": items}


def _known(given: str, *known: str) -> str:
    if given not in known:
        raise _error(400, "The id provided does not exist")
    return given


def _error(status: int, description: str, **more: object) -> Answered:
    return Answered(status, {"error": {"code": "BAD_REQUEST_ERROR", "description": description, **more}})
