"""The payment provider `sandbox`: a client of the fake payment company in `starter/sandbox_provider`.

Owns the translation between the port and that company's HTTP interface. Never retries.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx

from activities.adapters import webhook_signature
from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    Pending,
    ProviderEvent,
    ProviderRefused,
    ProviderUnavailable,
    RefundDeclined,
    Refunded,
    RefundOutcome,
    RefundRequest,
    TakenCharge,
)

TIMEOUT_SECONDS = 20
"""Below the 30 s of the activity that calls us, so that a lost answer is named as such."""

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)
"""Failures before the first byte of the request has left: nothing can have been charged."""
TURNED_AWAY = (429, 503)
"""The company says that it did not act on the request."""


class SandboxProvider:
    """`PaymentProvider` over HTTP. `webhook_secrets` verify what the company sends us; several during a rotation."""

    def __init__(self, base_url: str, webhook_secrets: Sequence[str], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_seconds, trust_env=False)
        self._secrets = tuple(webhook_secrets)

    @property
    def name(self) -> str:
        """`sandbox`."""
        return "sandbox"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """See `PaymentProvider.charge`."""
        answer = await self._post("/v1/charges", _body(request), request.attempt_id)
        try:
            return _outcome(_read(answer))
        except (KeyError, ValueError) as broken:
            raise OutcomeUnknown(f"sandbox: cannot read the answer to {request.attempt_id}: {broken!r}") from broken

    async def find_charge(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.find_charge`."""
        try:
            answer = await self._client.get("/v1/charges", params={"attempt_id": attempt_id})
        except httpx.HTTPError as failure:
            raise ProviderUnavailable(f"sandbox: cannot look up attempt {attempt_id}: {failure!r}") from failure
        _raise_for(answer, ProviderUnavailable)
        try:
            items = _read(answer)["items"]
            return _outcome(items[0]) if items else None
        except (KeyError, ValueError) as broken:
            raise ProviderUnavailable(f"sandbox: cannot read what became of {attempt_id}: {broken!r}") from broken

    async def withdraw(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.withdraw`."""
        answer = await self._post("/v1/charges/cancel", {"attempt_id": attempt_id}, attempt_id)
        try:
            items = _read(answer)["items"]
            return _outcome(items[0]) if items else None
        except (KeyError, ValueError) as broken:
            raise OutcomeUnknown(f"sandbox: cannot read what became of {attempt_id}: {broken!r}") from broken

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """See `PaymentProvider.refund`."""
        body: dict[str, object] = {
            "charge_id": request.provider_payment_id,
            "amount": f"{request.amount.normalize():f}",
        }
        answer = await self._post("/v1/refunds", body, request.refund_id)
        try:
            refund = _read(answer)
            if refund["status"] == "refunded":
                return Refunded(refund["id"])
            return RefundDeclined(refund["reason"], refund["id"])
        except (KeyError, ValueError) as broken:
            raise OutcomeUnknown(f"sandbox: cannot read the answer to {request.refund_id}: {broken!r}") from broken

    async def taken_charges(self, since: datetime, until: datetime) -> AsyncIterator[TakenCharge]:
        """See `PaymentProvider.taken_charges`."""
        query = {"since": since.isoformat(), "until": until.isoformat(), "after": ""}
        while True:
            try:
                answer = await self._client.get("/v1/charges", params=query)
            except httpx.HTTPError as failure:
                raise ProviderUnavailable(f"sandbox: cannot list charges: {failure!r}") from failure
            _raise_for(answer, ProviderUnavailable)
            try:
                items = _read(answer)["items"]
                taken = [_taken(charge) for charge in items if charge["status"] == "succeeded"]
            except (KeyError, ValueError, ArithmeticError) as broken:
                raise ProviderUnavailable(f"sandbox: cannot read the list of charges: {broken!r}") from broken
            for charge in taken:
                yield charge
            if not items:
                return
            query["after"] = items[-1]["id"]

    async def _post(self, path: str, body: dict[str, object], key: str) -> httpx.Response:
        """The company's answer to a request that moves money. Raises as the port says."""
        try:
            answer = await self._client.post(path, json=body, headers={"idempotency-key": key})
        except NOT_SENT as failure:
            raise ProviderUnavailable(f"sandbox: cannot reach {self._client.base_url}: {failure!r}") from failure
        except httpx.HTTPError as failure:
            raise OutcomeUnknown(f"sandbox: no answer to {key}: {failure!r}") from failure
        _raise_for(answer, OutcomeUnknown)
        return answer

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """See `PaymentProvider.parse_webhook`."""
        try:
            webhook_signature.verify(self._secrets, headers, body, now)
            event = json.loads(body)
            charge = event["data"]
            return ProviderEvent(
                provider=self.name,
                event_id=event["id"],
                type=event["type"],
                occurred_at=datetime.fromisoformat(event["created_at"]),
                attempt_id=charge["attempt_id"],
                invoice_id=charge["invoice_id"],
                outcome=_outcome(charge),
            )
        except webhook_signature.BadSignature as refused:
            raise BadWebhook(f"sandbox webhook refused: {refused}") from refused
        except (KeyError, TypeError, ValueError) as broken:
            raise BadWebhook(f"sandbox webhook is signed, but cannot be read: {broken!r}") from broken


def _body(request: ChargeRequest) -> dict[str, object]:
    return {
        "invoice_id": request.invoice_id,
        "customer_id": request.customer_id,
        "payment_method": request.payment_method,
        # The same amount always in the same words: the company compares bodies that come under one key.
        "amount": f"{request.amount.normalize():f}",
        "currency": request.currency,
        "description": request.description,
        "metadata": dict(request.metadata),
    }


def _raise_for(answer: httpx.Response, on_server_error: type[Exception]) -> None:
    """Nothing for 2xx. A server error other than the known refusals leaves open what happened."""
    if answer.is_success:
        return
    problem = f"sandbox: HTTP {answer.status_code}: {answer.text[:500]}"
    if answer.status_code in TURNED_AWAY:
        raise ProviderUnavailable(problem)
    if answer.status_code >= 500:
        raise on_server_error(problem)
    raise ProviderRefused(problem)


def _read(answer: httpx.Response) -> dict[str, Any]:
    read = answer.json()
    if not isinstance(read, dict):
        raise ValueError(f"not an object: {answer.text[:200]!r}")
    return read


def _outcome(charge: Mapping[str, Any]) -> ChargeOutcome:
    match charge["status"]:
        case "succeeded":
            return Charged(charge["id"])
        case "declined":
            return Declined(charge["decline_reason"], charge["decline_kind"], charge["id"])
        case "processing":
            return Pending(charge["id"])
        case "requires_action":
            return ActionRequired(_action_url(charge), charge["id"])
        case other:
            raise ValueError(f"sandbox: charge {charge['id']} has the unknown status {other!r}")


def _taken(charge: Mapping[str, Any]) -> TakenCharge:
    metadata = charge["metadata"]
    return TakenCharge(
        charge["id"],
        Decimal(charge["amount"]),
        Decimal(charge["amount_refunded"]),
        charge["currency"],
        datetime.fromisoformat(charge["created_at"]),
        attempt_id=charge["attempt_id"],
        invoice_id=charge["invoice_id"],
        tenant_id=metadata.get("tenant_id"),
        environment_id=metadata.get("environment_id"),
    )


def _action_url(charge: Mapping[str, Any]) -> str:
    url = charge["action_url"]
    if not isinstance(url, str):
        raise ValueError(f"sandbox: charge {charge['id']} requires action, but names no action_url")
    return url
