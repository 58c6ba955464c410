"""The payment provider `stripe`: payment intents, confirmed off-session, through Stripe's own library.

Owns the translation between the port and Stripe's API. Never retries. What Stripe's answers mean is in
`stripe_intents.py`, which declines are final in `stripe_declines.py`.

Our attempt id is the idempotency key and stands in the intent's metadata. Stripe keeps a key for at least 24 hours and
answers a repetition with the stored result, whatever it was; after that the metadata is what finds an old attempt.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final, cast

import stripe

from activities.adapters.minor_units import minor_units
from activities.adapters.stripe_declines import UNUSABLE_METHOD, kind_of, reason_of
from activities.adapters.stripe_http import NOT_SENT, OnceOverHttp
from activities.adapters.stripe_intents import (
    PLACES,
    Json,
    outcome_of,
    read_webhook,
    refund_outcome,
    taken_charge,
    waits_for_customer,
)
from activities.ports import (
    ChargeOutcome,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    ProviderError,
    ProviderEvent,
    ProviderRefused,
    ProviderUnavailable,
    RefundDeclined,
    RefundOutcome,
    RefundRequest,
    TakenCharge,
)

API_VERSION: Final = "2026-10-28.endive"
"""Pinned: answers keep this shape whatever the account's default. It is the version that the library was made for."""
TIMEOUT_SECONDS: Final = 8
"""A charge takes up to three calls, and the activity that makes them has 30 s."""
FINAL: Final = frozenset({"succeeded", "canceled", "processing"})
"""Statuses of an intent that cannot be taken back, or has been."""
PAGE: Final = 100
"""Most objects a list answers with."""
UNINDEXED: Final = timedelta(hours=1)
"""Stripe's search sees a new object after a minute, or up to an hour on a bad day; younger ones are listed."""
UNINDEXED_PAGES: Final = 10
UNSEARCHABLE: Final = timedelta(days=31)
"""How far back is listed for accounts that have no search (those in India)."""
UNSEARCHABLE_PAGES: Final = 60
NOT_LEFT: Final = frozenset({"charge_already_refunded", "charge_disputed", "refund_disputed_payment"})
"""Codes of a refund for which there is no money any more."""


class StripeProvider:
    """`PaymentProvider` of one Stripe account. `webhook_secrets` verify what it sends us; several during a rotation.

    `return_url` is where customers land after they have confirmed a payment. `api_base` is for tests.
    """

    def __init__(
        self,
        secret_key: str,
        webhook_secrets: Sequence[str],
        return_url: str,
        api_base: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._http = OnceOverHttp(timeout_seconds)
        self._api = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base.rstrip("/")} if api_base else {},
            max_network_retries=0,
            http_client=self._http,
        ).v1
        self._secrets = tuple(webhook_secrets)
        self._return_url = return_url

    @property
    def name(self) -> str:
        """`stripe`."""
        return "stripe"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """See `PaymentProvider.charge`."""
        amount = minor_units(request.amount, request.currency, self.name, PLACES)
        try:
            customer = request.provider_customer_id or await self._customer_of(request.payment_method)
            intent = await self._create(request, amount, customer)
            if waits_for_customer(intent):  # a repeated answer is as old as the first one
                intent = await self._fresh(intent["id"])
        except (stripe.CardError, stripe.InvalidRequestError) as refused:
            return _declined(refused)
        return await self._settled(intent, request.attempt_id)

    async def find_charge(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.find_charge`. None is certain for the 24 hours in which the key protects a repetition.

        Older attempts are found by Stripe's search, or by listing a month where an account has no search.
        """
        intent = await self._found(attempt_id)
        return None if intent is None else await self._settled(intent, attempt_id)

    async def withdraw(self, attempt_id: str) -> ChargeOutcome | None:
        """See `PaymentProvider.withdraw`."""
        intent = await self._found(attempt_id)
        if intent is None or intent["status"] in FINAL:
            return None if intent is None else outcome_of(intent)
        try:
            call = self._api.payment_intents.cancel_async(
                intent["id"],
                params={"cancellation_reason": "abandoned"},
                options={"idempotency_key": f"{attempt_id}-withdraw"},
            )
            return outcome_of(await _answer(call, OutcomeUnknown))
        except stripe.InvalidRequestError:  # it was paid, or a bank has begun on it, a moment ago
            return outcome_of(await self._fresh(intent["id"]))

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """See `PaymentProvider.refund`."""
        amount = minor_units(request.amount, request.currency, self.name, PLACES)
        try:
            for made in await self._refunds_of(request.provider_payment_id):
                if (made.get("metadata") or {}).get("refund_id") == request.refund_id:
                    _require_same(made, amount, request)
                    return refund_outcome(made)
            call = self._api.refunds.create_async(
                params={
                    "payment_intent": request.provider_payment_id,
                    "amount": amount,
                    "metadata": {**request.metadata, "refund_id": request.refund_id},
                },
                options={"idempotency_key": request.refund_id},
            )
            return refund_outcome(await _answer(call, OutcomeUnknown))
        except stripe.InvalidRequestError as refused:
            if refused.code in NOT_LEFT or refused.param == "amount":
                return RefundDeclined(refused.code or "more_than_is_left")
            raise _refusal(refused) from refused

    async def taken_charges(self, since: datetime, until: datetime) -> AsyncIterator[TakenCharge]:
        """See `PaymentProvider.taken_charges`."""
        params: dict[str, Any] = {
            "created": {"gte": ceil(since.timestamp()), "lt": ceil(until.timestamp())},
            "limit": PAGE,
            "expand": ["data.latest_charge"],
        }
        while True:
            try:
                page = await _answer(
                    self._api.payment_intents.list_async(params=cast(Any, params)), ProviderUnavailable
                )
            except stripe.InvalidRequestError as refused:
                raise _refusal(refused) from refused
            for intent in page["data"]:
                if intent["status"] == "succeeded":
                    yield taken_charge(intent)
            if not page["has_more"]:
                return
            params["starting_after"] = page["data"][-1]["id"]

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """See `PaymentProvider.parse_webhook`."""
        return read_webhook(self._secrets, headers, body, now)

    async def _customer_of(self, method: str) -> str | None:
        """Stripe charges a saved method only together with the customer to whom it is attached."""
        found = await _answer(self._api.payment_methods.retrieve_async(method), ProviderUnavailable)
        return found.get("customer")

    async def _create(self, request: ChargeRequest, amount: int, customer: str | None) -> Json:
        params: dict[str, Any] = {
            "amount": amount,
            "currency": request.currency,
            "payment_method": request.payment_method,
            "confirm": True,
            "off_session": True,
            "return_url": self._return_url,
            "metadata": {
                **request.metadata,
                "attempt_id": request.attempt_id,
                "invoice_id": request.invoice_id,
                "customer_id": request.customer_id,
            },
        }
        if request.description:
            params["description"] = request.description
        if customer:
            params["customer"] = customer
        call = self._api.payment_intents.create_async(
            params=cast(Any, params), options={"idempotency_key": request.attempt_id}
        )
        return await _intent(call)

    async def _settled(self, intent: Json, attempt_id: str) -> ChargeOutcome:
        """The intent's outcome; where the bank wants the customer, the same intent is confirmed anew with a page."""
        if waits_for_customer(intent):
            call = self._api.payment_intents.confirm_async(
                intent["id"],
                params={
                    "payment_method": intent["last_payment_error"]["payment_method"]["id"],
                    "return_url": self._return_url,
                },
                options={"idempotency_key": f"{attempt_id}-customer"},
            )
            try:
                intent = await _intent(call)
            except (stripe.CardError, stripe.InvalidRequestError) as refused:
                return replace(_declined(refused), provider_payment_id=intent["id"])
        return outcome_of(intent)

    async def _found(self, attempt_id: str) -> Json | None:
        try:
            found = await self._search(attempt_id)
            searchable = True
        except stripe.InvalidRequestError:
            found, searchable = None, False
        return found or await self._listed(attempt_id, searchable)

    async def _search(self, attempt_id: str) -> Json | None:
        call = self._api.payment_intents.search_async(
            params={"query": f"metadata['attempt_id']:'{attempt_id}'", "limit": 1}
        )
        found = (await _answer(call, ProviderUnavailable))["data"]
        return await self._fresh(found[0]["id"]) if found else None

    async def _fresh(self, intent_id: str) -> Json:
        """The intent itself: what search answers with may be older than its last change."""
        return await _answer(self._api.payment_intents.retrieve_async(intent_id), ProviderUnavailable)

    async def _listed(self, attempt_id: str, searchable: bool) -> Json | None:
        """The attempt's intent among the latest ones, newest first.

        Where search works, what is not found here is under an hour old and its key protects a repetition, so a busy
        account need not be read whole. Without search nothing but the whole list can say that there is none.
        """
        window, pages = (UNINDEXED, UNINDEXED_PAGES) if searchable else (UNSEARCHABLE, UNSEARCHABLE_PAGES)
        since = int((datetime.now(UTC) - window).timestamp())
        params: dict[str, Any] = {"created": {"gte": since}, "limit": PAGE}
        for _ in range(pages):
            call = self._api.payment_intents.list_async(params=cast(Any, params))
            page = await _answer(call, ProviderUnavailable)
            for intent in page["data"]:
                if (intent.get("metadata") or {}).get("attempt_id") == attempt_id:
                    return cast(Json, intent)
            if not page["has_more"]:
                return None
            params["starting_after"] = page["data"][-1]["id"]
        if searchable:
            return None
        raise OutcomeUnknown(f"stripe: cannot tell what became of {attempt_id}: too many payments to read through")

    async def _refunds_of(self, intent_id: str) -> list[Json]:
        call = self._api.refunds.list_async(params={"payment_intent": intent_id, "limit": PAGE})
        return cast(list[Json], (await _answer(call, ProviderUnavailable))["data"])


async def _intent(call: Awaitable[stripe.PaymentIntent]) -> Json:
    """The intent that a call made or confirmed; a decline arrives as an error that carries the intent."""
    try:
        return await _answer(call, OutcomeUnknown)
    except stripe.CardError as declined:
        known = _error(declined).get("payment_intent")
        if known is None:
            raise
        return cast(Json, known)


async def _answer(call: Awaitable[stripe.StripeObject], lost: type[ProviderError]) -> dict[str, Any]:
    """The object that Stripe answers with. Raises `lost` when the request may have been acted upon.

    Lets `CardError` and `InvalidRequestError` pass: what they mean depends on the request.
    """
    try:
        return (await call).to_dict()
    except (stripe.CardError, stripe.InvalidRequestError):
        raise
    except stripe.APIConnectionError as failure:
        if isinstance(failure.__cause__, NOT_SENT):
            raise ProviderUnavailable(f"stripe: cannot be reached: {failure.__cause__!r}") from failure
        raise lost(f"stripe: no answer: {failure.__cause__!r}") from failure
    except stripe.RateLimitError as busy:
        raise ProviderUnavailable(f"stripe: {busy}") from busy
    except stripe.APIError as failure:
        # 409: a request under the same key is under way. 5xx: Stripe itself does not know.
        raise lost(f"stripe: HTTP {failure.http_status}: {failure}") from failure
    except stripe.StripeError as refused:
        raise _refusal(refused) from refused


def _declined(refused: stripe.CardError | stripe.InvalidRequestError) -> Declined:
    """What a refused request amounts to when the payment method is at fault; else raises ProviderRefused."""
    if isinstance(refused, stripe.CardError):
        reason = reason_of(_error(refused))
        return Declined(reason, kind_of(reason))
    if refused.code == "resource_missing" and refused.param == "payment_method":
        return Declined("no_such_payment_method", "hard")
    if refused.code in UNUSABLE_METHOD:
        return Declined(str(refused.code), "hard")
    raise _refusal(refused) from refused


def _error(failure: stripe.StripeError) -> Json:
    return cast(Json, cast(dict[str, Any], failure.json_body)["error"])


def _require_same(made: Json, amount: int, request: RefundRequest) -> None:
    if made["amount"] != amount:
        raise ProviderRefused(f"stripe: refund {request.refund_id} was made before with another amount")


def _refusal(refused: stripe.StripeError) -> ProviderRefused:
    code = f" ({refused.code})" if refused.code else ""
    return ProviderRefused(f"stripe: HTTP {refused.http_status}: {refused}{code}")
