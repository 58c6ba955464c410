"""Stripe as far as our adapter uses it: payment intents, search, refunds, signed events; honest about idempotency.

Written from Stripe's public documentation. Methods are those of its test mode; all are attached to `CUSTOMER`.
"""

import hmac
import json
import time
from hashlib import sha256

from .company import Answered, Asked, Company, Json, Webhook, nested

KEY = "sk_test_fake"
SECRET = "whsec_fake_of_stripe"
CUSTOMER = "cus_fake"

OK = "pm_card_visa"
SOFT = "pm_card_visa_chargeDeclinedInsufficientFunds"
HARD = "pm_card_visa_chargeDeclinedStolenCard"
ACTION = "pm_card_authenticationRequired"
SLOW = "pm_bank_debit"
DECLINES = {SOFT: "insufficient_funds", HARD: "stolen_card"}
METHODS = (OK, SOFT, HARD, ACTION, SLOW)


class StripeCompany(Company):
    """One account. `indexed`: whether search sees new intents; `has_search`: False for accounts without it."""

    def __init__(self) -> None:
        self.intents: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.keys: dict[str, tuple[str, int, Json]] = {}
        self.keys_in_flight: set[str] = set()
        self.indexed = True
        self.has_search = True
        super().__init__()

    def taken(self, invoice_id: str) -> list[int]:
        return [
            intent["amount"] - self._given_back(intent["id"])
            for intent in self.intents.values()
            if intent["status"] == "succeeded" and intent["metadata"]["invoice_id"] == invoice_id
        ]

    def answer(self, asked: Asked) -> Json:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            raise _error(401, "invalid_request_error", "Invalid API Key provided")
        return self._once(asked) if asked.method == "POST" else self._read(asked)

    def _once(self, asked: Asked) -> Json:
        """A key belongs to one request; its first answer is repeated, whatever it was."""
        key = asked.headers["idempotency-key"]
        if key in self.keys_in_flight:
            raise _error(409, "idempotency_error", "a request with this key is in progress", "idempotency_key_in_use")
        request = json.dumps([asked.path, sorted(asked.fields.items())])
        known = self.keys.get(key)
        if known is None:
            known = (request, *self._act(asked))
            self.keys[key] = known
        if known[0] != request:
            raise _error(400, "idempotency_error", "Keys for idempotent requests can only be used with the same one")
        if known[1] != 200:
            raise Answered(known[1], known[2])
        return known[2]

    def _act(self, asked: Asked) -> tuple[int, Json]:
        try:
            if asked.path == "/v1/payment_intents":
                return 200, self._create(asked)
            if asked.path == "/v1/refunds":
                return 200, self._refund(asked)
            if asked.path.endswith("/cancel"):
                return 200, self._cancel(self._intent(asked.path.split("/")[3]))
            return 200, self._confirm(self._intent(asked.path.split("/")[3]), asked, off_session=False)
        except Answered as refused:
            return refused.status, refused.body

    def _read(self, asked: Asked) -> Json:
        match asked.path.split("/")[2:]:
            case ["payment_methods", method]:
                _require_method(method)
                return {"id": method, "object": "payment_method", "type": "card", "customer": CUSTOMER}
            case ["payment_intents"]:
                return self._list(asked)
            case ["payment_intents", "search"]:
                return self._search(asked)
            case ["payment_intents", intent_id]:
                return self._intent(intent_id)
            case _:
                given = [
                    each for each in self.refunds.values() if each["payment_intent"] == asked.fields["payment_intent"]
                ]
                return {"object": "list", "data": given, "has_more": False}

    def _create(self, asked: Asked) -> Json:
        fields = asked.fields
        _require_method(fields["payment_method"])
        if fields.get("customer") != CUSTOMER:
            raise _error(400, "invalid_request_error", "The payment method is attached: provide its customer")
        assert fields["confirm"] == fields["off_session"] == "true"
        intent: Json = {
            "id": self.new_id("pi"),
            "object": "payment_intent",
            "amount": int(fields["amount"]),
            "currency": fields["currency"],
            "customer": fields["customer"],
            "created": int(time.time()),
            "metadata": nested(fields, "metadata"),
            "last_payment_error": None,
            "next_action": None,
        }
        self.intents[intent["id"]] = intent
        return self._confirm(intent, asked, off_session=True)

    def _confirm(self, intent: Json, asked: Asked, off_session: bool) -> Json:
        method = asked.fields["payment_method"]
        if method in DECLINES:
            raise self._fail(intent, method, "card_declined", DECLINES[method])
        if method == ACTION and off_session:
            raise self._fail(intent, method, "authentication_required", "authentication_required")
        if method == ACTION:
            page = {"url": f"{self.url}/customer/{intent['id']}", "return_url": asked.fields["return_url"]}
            intent |= {"status": "requires_action", "last_payment_error": None}
            intent["next_action"] = {"type": "redirect_to_url", "redirect_to_url": page}
        else:
            intent["status"] = "processing" if method == SLOW else "succeeded"
        self._tell(f"payment_intent.{intent['status']}", intent)
        return dict(intent)

    def _cancel(self, intent: Json) -> Json:
        if intent["status"] in ("succeeded", "canceled", "processing"):
            raise _error(400, "invalid_request_error", "cannot be canceled", "payment_intent_unexpected_state")
        intent |= {"status": "canceled", "cancellation_reason": "abandoned", "next_action": None}
        self._tell("payment_intent.canceled", intent)
        return dict(intent)

    def _fail(self, intent: Json, method: str, code: str, decline_code: str | None) -> Answered:
        error: Json = {"type": "card_error", "code": code, "message": "declined", "payment_method": {"id": method}}
        if decline_code:
            error["decline_code"] = decline_code
        intent |= {"status": "requires_payment_method", "last_payment_error": error, "next_action": None}
        self._tell("payment_intent.payment_failed", intent)
        return Answered(402, {"error": {**error, "payment_intent": dict(intent)}})

    def finish(self, intent_id: str, approved: bool) -> None:
        """The customer, or the bank after days, has decided."""
        intent = self.intents[intent_id]
        if approved:
            intent |= {"status": "succeeded", "next_action": None}
            self._tell("payment_intent.succeeded", intent)
        else:
            self._fail(intent, ACTION, "payment_intent_authentication_failure", None)

    def _refund(self, asked: Asked) -> Json:
        intent, amount = self._intent(asked.fields["payment_intent"]), int(asked.fields["amount"])
        left = intent["amount"] - self._given_back(intent["id"])
        if left == 0:
            raise _error(400, "invalid_request_error", "already refunded", "charge_already_refunded")
        if amount > left:
            raise _error(400, "invalid_request_error", "greater than unrefunded amount", param="amount")
        refund: Json = {
            "id": self.new_id("re"),
            "object": "refund",
            "amount": amount,
            "payment_intent": intent["id"],
            "metadata": nested(asked.fields, "metadata"),
            "status": "succeeded",
        }
        self.refunds[refund["id"]] = refund
        return refund

    def _given_back(self, intent_id: str) -> int:
        given = [each for each in self.refunds.values() if each["payment_intent"] == intent_id]
        return sum(each["amount"] for each in given if each["status"] != "failed")

    def _list(self, asked: Asked) -> Json:
        newest = list(reversed(self.intents.values()))
        after = asked.fields.get("starting_after")
        if after:
            newest = newest[[intent["id"] for intent in newest].index(after) + 1 :]
        since, until = int(asked.fields["created[gte]"]), int(asked.fields.get("created[lt]", 1 << 62))
        recent = [intent for intent in newest if since <= intent["created"] < until]
        limit = int(asked.fields["limit"])
        shown = [self._expanded(intent, asked) for intent in recent[:limit]]
        return {"object": "list", "data": shown, "has_more": len(recent) > limit}

    def _expanded(self, intent: Json, asked: Asked) -> Json:
        if "data.latest_charge" not in asked.fields.values():
            return intent
        charge = {"id": f"ch_{intent['id']}", "object": "charge", "amount_refunded": self._given_back(intent["id"])}
        return {**intent, "latest_charge": charge}

    def _search(self, asked: Asked) -> Json:
        if not self.has_search:
            raise _error(400, "invalid_request_error", "The search feature is not available for your account")
        wanted = asked.fields["query"].removeprefix("metadata['attempt_id']:'").removesuffix("'")
        found = [each for each in self.intents.values() if each["metadata"].get("attempt_id") == wanted]
        return {"object": "search_result", "data": found if self.indexed else [], "has_more": False}

    def _intent(self, intent_id: str) -> Json:
        if intent_id not in self.intents:
            raise _error(404, "invalid_request_error", "No such payment_intent", "resource_missing", "intent")
        return self.intents[intent_id]

    def _tell(self, event_type: str, intent: Json) -> None:
        event = {
            "id": self.new_id("evt"),
            "object": "event",
            "type": event_type,
            "created": int(time.time()),
            "data": {"object": dict(intent)},
        }
        self.webhooks.append(signed(json.dumps(event).encode()))


def signed(body: bytes, secret: str = SECRET, at: float | None = None) -> Webhook:
    """The webhook as Stripe sends it at Unix time `at`."""
    seconds = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, sha256).hexdigest()
    return Webhook({"Stripe-Signature": f"t={seconds},v1={digest},v0=old"}, body)


def _require_method(method: str) -> None:
    if method not in METHODS:
        raise _error(404, "invalid_request_error", "No such PaymentMethod", "resource_missing", "payment_method")


def _error(status: int, kind: str, message: str, code: str | None = None, param: str | None = None) -> Answered:
    error = {"type": kind, "message": message, "code": code, "param": param}
    return Answered(status, {"error": {name: value for name, value in error.items() if value}})
