"""The payment provider `razorpay`: recurring payments by token (cards, UPI and bank mandates) and payment links.

Owns the translation between the port and Razorpay's API, through Razorpay's own library. Never retries. What its
answers mean is in `razorpay_entities.py`, which declines are final in `razorpay_declines.py`.

Razorpay has no idempotency key for payments. An attempt is an order whose receipt is our attempt id (for a link: its
reference id, which Razorpay keeps unique). Whoever charges looks the order up first, uses the oldest one of that
receipt, and an order is paid once at most; so an attempt takes the money once, however often it is made.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from math import ceil
from typing import Any, Final

import razorpay

from activities.adapters.minor_units import minor_units
from activities.adapters.razorpay_declines import kind_of, mandate_refusal
from activities.adapters.razorpay_entities import (
    OPEN_LINK,
    PAYMENT_LINK,
    PLACES,
    TOOK_MONEY,
    outcome_of_link,
    outcome_of_payments,
    read_webhook,
    refund_outcome,
    taken_charge,
)
from activities.adapters.razorpay_http import Calls, Json, Refused
from activities.ports import (
    ChargeOutcome,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    ProviderEvent,
    ProviderRefused,
    RefundDeclined,
    RefundOutcome,
    RefundRequest,
    TakenCharge,
)

TIMEOUT_SECONDS: Final = 6
"""A charge takes up to eight short calls, and the activity that makes them has 30 s."""
PAGE: Final = 100


class RazorpayProvider:
    """`PaymentProvider` of one Razorpay account. `webhook_secrets` verify what it sends; several during a rotation.

    Payment methods are `cust_.../token_...` (or the token alone, with the request's `provider_customer_id`), or
    `payment_link`. `return_url` is where customers land after a link; `api_base` is for tests.
    """

    def __init__(
        self,
        key_id: str,
        key_secret: str,
        webhook_secrets: Sequence[str],
        return_url: str,
        api_base: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._call = Calls(timeout_seconds)
        options = {"base_url": api_base.rstrip("/")} if api_base else {}
        self._api = razorpay.Client(session=self._call.session, auth=(key_id, key_secret), **options)
        self._secrets = tuple(webhook_secrets)
        self._return_url = return_url

    @property
    def name(self) -> str:
        """`razorpay`."""
        return "razorpay"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._call.aclose()

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """See `PaymentProvider.charge`."""
        amount = minor_units(request.amount, request.currency, self.name, PLACES)
        try:
            if request.payment_method == PAYMENT_LINK:
                return await self._charge_by_link(request, amount)
            return await self._charge_by_token(request, amount)
        except Refused as refused:
            raise refused.as_port_error() from refused

    async def find_charge(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.find_charge`."""
        try:
            link = await self._link(attempt_id)
            if link is not None:
                return outcome_of_link(link)
            return await self._outcome(await self._orders(attempt_id))
        except Refused as refused:
            raise refused.as_port_error() from refused

    async def withdraw(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.withdraw`. Only links wait for the customer: a mandate's debit is the bank's."""
        try:
            link = await self._link(attempt_id)
            if link is None:
                return await self._outcome(await self._orders(attempt_id))
            if link["status"] in OPEN_LINK:
                link = await self._call(self._api.payment_link.cancel, link["id"], lost=OutcomeUnknown)
            return outcome_of_link(link)
        except Refused as refused:  # it was paid a moment ago
            link = await self._link(attempt_id)
            if link is None or link["status"] in OPEN_LINK:
                raise refused.as_port_error() from refused
            return outcome_of_link(link)

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """See `PaymentProvider.refund`."""
        amount = minor_units(request.amount, request.currency, self.name, PLACES)
        payment_id = request.provider_payment_id
        try:
            made = await self._call(self._api.payment.fetch_multiple_refund, payment_id, {"count": PAGE})
            for refund in made["items"]:
                if refund.get("receipt") == request.refund_id:
                    _require_same(refund, amount, request.currency, request.refund_id)
                    return refund_outcome(refund)
            body = {
                "amount": amount,
                "receipt": request.refund_id,
                "notes": {**request.metadata, "refund_id": request.refund_id},
            }
            headers = {"X-Refund-Idempotency": request.refund_id}
            pay = self._api.payment
            return refund_outcome(await self._call(pay.refund, payment_id, body, headers=headers, lost=OutcomeUnknown))
        except Refused as refused:
            return await self._refund_refused(payment_id, amount, refused)

    async def taken_charges(self, since: datetime, until: datetime) -> AsyncIterator[TakenCharge]:
        """See `PaymentProvider.taken_charges`."""
        # Both bounds are inclusive, in whole seconds.
        query = {"from": ceil(since.timestamp()), "to": ceil(until.timestamp()) - 1, "count": PAGE, "skip": 0}
        while True:
            try:
                items = (await self._call(self._api.payment.all, dict(query)))["items"]
            except Refused as refused:
                raise refused.as_port_error() from refused
            for payment in items:
                if payment["status"] in TOOK_MONEY:
                    yield taken_charge(payment)
            if len(items) < PAGE:
                return
            query["skip"] += PAGE

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """See `PaymentProvider.parse_webhook`."""
        return read_webhook(self._secrets, headers, body, now)

    async def _charge_by_link(self, request: ChargeRequest, amount: int) -> ChargeOutcome:
        link = await self._link(request.attempt_id)
        if link is None:
            try:
                body = self._link_body(request, amount)
                link = await self._call(self._api.payment_link.create, body, lost=OutcomeUnknown)
            except Refused as refused:  # another worker may have made it a moment ago: the reference id is unique
                link = await self._link(request.attempt_id)
                if link is None:
                    raise refused
        _require_same(link, amount, request.currency, request.attempt_id)
        return outcome_of_link(link)

    def _link_body(self, request: ChargeRequest, amount: int) -> dict[str, Any]:
        return {
            "amount": amount,
            "currency": request.currency.upper(),
            "accept_partial": False,
            "description": request.description,
            "reference_id": request.attempt_id,
            "notes": _notes(request) | {"via": PAYMENT_LINK},
            "notify": {"sms": False, "email": False},
            "callback_url": self._return_url,
            "callback_method": "get",
        }

    async def _charge_by_token(self, request: ChargeRequest, amount: int) -> ChargeOutcome:
        customer_id, token = _source(request)
        orders = await self._orders(request.attempt_id)
        if orders:
            _require_same(orders[0], amount, request.currency, request.attempt_id)
        known = await self._outcome(orders)
        if known is not None:
            return known
        refusal = await self._token_refusal(customer_id, token)
        if refusal is not None:
            return Declined(refusal, kind_of(refusal))
        if not orders:
            orders = await self._make_order(request, amount)
            # More than ours: another worker is as quick, and may already have paid.
            known = await self._outcome(orders) if len(orders) > 1 else None
        return known or await self._pay(orders[0], request, customer_id, token)

    async def _make_order(self, request: ChargeRequest, amount: int) -> list[Json]:
        """The orders of the attempt, oldest first, with ours among them. Nothing is charged by an order."""
        body = {
            "amount": amount,
            "currency": request.currency.upper(),
            "receipt": request.attempt_id,
            "payment_capture": True,
            "notes": _notes(request),
        }
        made = await self._call(self._api.order.create, body)
        return await self._orders(request.attempt_id) or [made]

    async def _pay(self, order: Json, request: ChargeRequest, customer_id: str, token: str) -> ChargeOutcome:
        customer = await self._call(self._api.customer.fetch, customer_id, {})
        body = {
            "email": customer.get("email"),
            "contact": customer.get("contact"),
            "amount": order["amount"],
            "currency": order["currency"],
            "order_id": order["id"],
            "customer_id": customer_id,
            "token": token,
            "recurring": True,
            "description": request.description,
            "notes": _notes(request),
        }
        refusal: Refused | None = None
        try:
            await self._call(self._api.payment.createRecurring, body, lost=OutcomeUnknown)
        except Refused as refused:
            refusal = refused  # a decline is answered like that too; the order tells them apart
        outcome = await self._outcome([order])
        if outcome is not None:
            return outcome
        if refusal is not None:
            raise refusal
        raise OutcomeUnknown(f"razorpay: {order['id']} shows no payment yet: its webhook brings the outcome")

    async def _token_refusal(self, customer_id: str, token: str) -> str | None:
        try:
            return mandate_refusal(await self._call(self._api.token.fetch, customer_id, token, {}))
        except Refused:
            return "no_such_payment_method"

    async def _orders(self, attempt_id: str) -> list[Json]:
        """The orders of that receipt, oldest first."""
        found = await self._call(self._api.order.all, {"receipt": attempt_id, "count": PAGE})
        mine = [order for order in found["items"] if order.get("receipt") == attempt_id]
        return sorted(mine, key=lambda order: (order["created_at"], order["id"]))

    async def _outcome(self, orders: Sequence[Json]) -> ChargeOutcome | None:
        """What the payments of these orders came to; None when nobody has tried."""
        payments: list[Json] = []
        for order in orders:
            found = await self._call(self._api.order.payments, order["id"], {})
            payments.extend(found["items"])
        return outcome_of_payments(payments)

    async def _link(self, attempt_id: str) -> Json | None:
        found = await self._call(self._api.payment_link.all, {"reference_id": attempt_id})
        for link in found.get("payment_links") or []:
            if link.get("reference_id") == attempt_id:
                return await self._call(self._api.payment_link.fetch, link["id"], {})
        return None

    async def _refund_refused(self, payment_id: str, amount: int, refused: Refused) -> RefundOutcome:
        """A refused refund is a decline when the charge has less left than asked for."""
        try:
            payment = await self._call(self._api.payment.fetch, payment_id, {})
        except Refused:
            raise refused.as_port_error() from refused
        if payment["status"] in ("captured", "refunded") and payment["amount"] - payment["amount_refunded"] < amount:
            return RefundDeclined("more_than_is_left")
        raise refused.as_port_error() from refused


def _source(request: ChargeRequest) -> tuple[str, str]:
    """Customer and token; raises `ProviderRefused` for a payment method of another form."""
    named, _, token = request.payment_method.rpartition("/")
    customer_id = named or request.provider_customer_id or ""
    if not customer_id.startswith("cust_") or not token.startswith("token_"):
        raise ProviderRefused(
            f"razorpay: payment method {request.payment_method!r} must be 'cust_.../token_...' or {PAYMENT_LINK!r}"
        )
    return customer_id, token


def _notes(request: ChargeRequest) -> dict[str, str]:
    """What comes back in webhooks: names the attempt, and the way home."""
    return {
        **request.metadata,
        "attempt_id": request.attempt_id,
        "invoice_id": request.invoice_id,
        "customer_id": request.customer_id,
    }


def _require_same(made: Json, amount: int, currency: str, key: str) -> None:
    if (made["amount"], made["currency"].lower()) != (amount, currency):
        raise ProviderRefused(f"razorpay: {key} was sent before with another amount or currency")
