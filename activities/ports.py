"""What activities ask of the outside world: payment providers, object stores, webhook delivery.

Owns the Protocols, the plain values that cross them and the errors they may raise. Owns no vendor: every implementation
lives in `activities/adapters/`, the only place with vendor imports, and tests may put anything of the same shape in its
place. Adapters never retry; Temporal does.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, Protocol

# --- payments ---------------------------------------------------------------------------------------------------------


class ProviderError(Exception):
    """Root of what a payment provider may raise. A decline is not an error: it is a `Declined` value."""


class ProviderUnavailable(ProviderError):
    """The provider could not be reached or turned the request away before acting on it: nothing was charged. Retry."""


class OutcomeUnknown(ProviderError):
    """The request may have been acted upon, but its answer is lost or not final yet.

    Call `find_charge(attempt_id)` before anything else: None there means that the charge never arrived, and the same
    attempt may be sent again under the same key.
    """


class ProviderRefused(ProviderError):
    """The request itself is wrong (credentials, a key used again with another body): it never succeeds."""


class BadWebhook(ProviderError):
    """An inbound webhook whose signature, time or shape is not acceptable; the route answers 400 and stores nothing."""


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """One off-session charge. `attempt_id` is our payment attempt's id and the provider's idempotency key.

    A retry after a lost answer sends the same request with the same `attempt_id`; after a decline it is a new attempt.
    """

    attempt_id: str
    invoice_id: str
    customer_id: str
    payment_method: str
    """The provider's token (Stripe `pm_...`, Razorpay `token_...`, the sandbox's `pm_card_...`)."""
    amount: Decimal
    """In major units of `currency`, at that currency's precision; greater than zero."""
    currency: str
    """ISO 4217, lower case."""
    description: str = ""
    provider_customer_id: str | None = None
    """The provider's own name of the customer (Stripe `cus_...`, Razorpay `cust_...`), where it needs one."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Stored by the provider and sent back in its webhooks. `tenant_id` and `environment_id` route a webhook home."""


@dataclass(frozen=True, slots=True)
class Charged:
    """The money has been taken."""

    provider_payment_id: str
    outcome: Literal["charged"] = "charged"


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider said no. `hard`: the same method will never work; `soft`: it may work later."""

    reason: str
    kind: Literal["soft", "hard"]
    provider_payment_id: str | None = None
    outcome: Literal["declined"] = "declined"


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The customer must do something at `url` (3-D Secure, a payment link); a webhook brings the final outcome."""

    url: str
    provider_payment_id: str
    outcome: Literal["action_required"] = "action_required"


@dataclass(frozen=True, slots=True)
class Pending:
    """A bank works on it, for hours or days (UPI, bank mandates): a webhook, or looking it up, brings the outcome."""

    provider_payment_id: str
    outcome: Literal["pending"] = "pending"


ChargeOutcome = Charged | Declined | ActionRequired | Pending
"""What a charge came to. The field `outcome` tells the four apart in JSON."""


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Give back all or part of a charge. `refund_id` is our refund's id and the provider's idempotency key."""

    refund_id: str
    provider_payment_id: str
    """The charge, as `Charged` named it."""
    amount: Decimal
    """In major units of `currency`, at that currency's precision; greater than zero."""
    currency: str
    """ISO 4217, lower case: that of the charge."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Stored by the provider."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money is on its way back, for good."""

    provider_refund_id: str
    outcome: Literal["refunded"] = "refunded"


@dataclass(frozen=True, slots=True)
class RefundPending:
    """The provider has accepted the refund and works on it; it may still fail. The same request tells what became."""

    provider_refund_id: str
    outcome: Literal["pending"] = "pending"


@dataclass(frozen=True, slots=True)
class RefundDeclined:
    """The provider said no: more than is left of the charge, or the bank sent it back."""

    reason: str
    provider_refund_id: str | None = None
    outcome: Literal["declined"] = "declined"


RefundOutcome = Refunded | RefundPending | RefundDeclined
"""What a refund came to. The field `outcome` tells the three apart in JSON."""


@dataclass(frozen=True, slots=True)
class Disputed:
    """The customer has taken a charge to the bank, and how that stands: a report about it, not its answer."""

    provider_dispute_id: str
    provider_payment_id: str
    """The charge, as `Charged` named it."""
    amount: Decimal
    """What is disputed, in major units of `currency`."""
    currency: str
    reason: str
    state: Literal["needs_response", "under_review", "won", "lost"]
    reported_at: datetime
    """When the provider reported it: reports may arrive out of order."""
    respond_by: datetime | None = None
    outcome: Literal["disputed"] = "disputed"


@dataclass(frozen=True, slots=True)
class RefundTold:
    """What a provider reports of a refund, ours or one that somebody made in its dashboard."""

    provider_refund_id: str
    provider_payment_id: str
    """The charge, as `Charged` named it."""
    amount: Decimal
    """In major units of `currency`."""
    currency: str
    result: RefundOutcome
    refund_id: str | None = None
    """Ours, as `RefundRequest` named it; None: it was not made by us."""
    outcome: Literal["refund_told"] = "refund_told"


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """An inbound webhook, verified and read. Stored once by (`provider`, `event_id`), then signalled to the invoice."""

    provider: str
    event_id: str
    type: str
    """The provider's own name of the event, kept for people who read the table."""
    occurred_at: datetime
    attempt_id: str | None = None
    invoice_id: str | None = None
    outcome: ChargeOutcome | None = None
    """None when the event says nothing about a charge: it is acknowledged and stored, and nobody is signalled."""
    dispute: Disputed | None = None
    refund: RefundTold | None = None


@dataclass(frozen=True, slots=True)
class TakenCharge:
    """Money that a provider has taken, as its own books have it. What we send along is None where others made it."""

    provider_payment_id: str
    """As `Charged` names it."""
    amount: Decimal
    """What was taken, in major units of `currency`."""
    refunded: Decimal
    """What of it has gone back."""
    currency: str
    made_at: datetime
    attempt_id: str | None = None
    invoice_id: str | None = None
    tenant_id: str | None = None
    environment_id: str | None = None


class PaymentProvider(Protocol):
    """A company that moves money: Stripe, Razorpay, the sandbox."""

    @property
    def name(self) -> str:
        """Lower-case word: part of task queue names, ledger accounts and webhook routes (`stripe`, `sandbox`)."""

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Take the money off-session, at most once per `attempt_id`, however often it is called.

        Raises `ProviderUnavailable` (nothing happened), `OutcomeUnknown` (look it up first), `ProviderRefused`.
        """

    async def find_charge(self, attempt_id: str) -> ChargeOutcome | None:
        """What became of that attempt; None when the provider has never seen it.

        Raises `ProviderUnavailable` when it cannot be asked, `OutcomeUnknown` while the provider is still at work.
        """

    async def withdraw(self, attempt_id: str) -> ChargeOutcome | None:
        """Take back an attempt that waits for the customer, so that nobody can pay it any more.

        Returns what it came to: a `Declined` once it is taken back (also when that was done before), `Charged` when the
        money was quicker, `Pending` when a bank works on it; None for one that the provider has never seen. Raises
        `ProviderUnavailable`, `OutcomeUnknown` (call it again).
        """

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Give the money back, at most once per `refund_id`, however often it is called: asking again tells the state.

        Raises `ProviderUnavailable` (nothing happened), `OutcomeUnknown` (send the same again), `ProviderRefused`.
        """

    def taken_charges(self, since: datetime, until: datetime) -> AsyncIterator[TakenCharge]:
        """Every charge that was made in [since, until) (real UTC time) and has taken money, in any order, each once.

        Made is when it was asked for: a customer may have paid days later. Raises `ProviderUnavailable`,
        `ProviderRefused`.
        """

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        """Verify the signature over the raw body, with a tolerance around `now` (real UTC time), and read the event.

        Raises `BadWebhook`.
        """

    async def aclose(self) -> None:
        """Close the connections."""


# --- documents --------------------------------------------------------------------------------------------------------


class ObjectStoreError(Exception):
    """Root of what an object store may raise."""


class ObjectNotFound(ObjectStoreError):
    """No object is stored under that key."""


class StoreUnavailable(ObjectStoreError):
    """The store cannot be reached, is out of space or answers with a server error. Retry."""


class StoreRefused(ObjectStoreError):
    """The store refuses us (credentials, bucket): someone has to change the configuration."""


LONGEST_LINK = timedelta(days=7)
"""How long a signed URL may live: the limit of S3's signature version 4, kept by every store."""

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_LONGEST_KEY = 512


def check_key(key: str) -> str:
    """The key itself if every store can hold it; else ValueError. Nothing in a key can leave a folder or hide in it."""
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ValueError(
            f"object key {key!r} is not usable: parts of letters, digits, '.', '_' and '-' (not beginning with '.'),"
            f" joined by '/', {_LONGEST_KEY} characters at most"
        )
    return key


def check_lifetime(expires_in: timedelta) -> timedelta:
    """The lifetime itself if a signed URL may have it; else ValueError."""
    if not timedelta(seconds=1) <= expires_in <= LONGEST_LINK:
        raise ValueError(f"expires_in is {expires_in}: a signed URL lives from 1 second to {LONGEST_LINK.days} days")
    return expires_in


class ObjectStore(Protocol):
    """Where documents and exports lie. Keys are chosen by the caller, by content hash where the content is final."""

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store the whole object, durably, before returning; the same key again replaces it at one instant.

        Raises `StoreUnavailable`, `StoreRefused`, and ValueError for a key that `check_key` refuses.
        """

    async def get(self, key: str) -> bytes:
        """The object's content. Raises `ObjectNotFound`, `StoreUnavailable`, `StoreRefused`."""

    async def exists(self, key: str) -> bool:
        """Whether the object is there. Raises `StoreUnavailable`, `StoreRefused`."""

    async def signed_url(self, key: str, expires_in: timedelta, now: datetime, filename: str | None = None) -> str:
        """A URL that anyone may GET until `now` + `expires_in` (real UTC time); `filename` names the download."""


# --- webhooks out -----------------------------------------------------------------------------------------------------


class UrlRefused(Exception):
    """A webhook URL that we will not call; the message says why and what would be right. The route answers 400."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """One attempt to deliver a webhook. Delivered when `status` is 2xx; 410 asks us to disable the endpoint."""

    status: int | None
    """HTTP status; None when no answer came, and then `error` says why."""
    error: str | None
    duration_ms: int
    response_text: str = ""
    """The beginning of the answer's body, for the deliveries list."""
    retry_after_seconds: int | None = None
    """What the receiver asked for in `Retry-After`, if it did."""

    @property
    def delivered(self) -> bool:
        """True for 2xx only: redirects are not followed and count as failures."""
        return self.status is not None and 200 <= self.status < 300


class WebhookSender(Protocol):
    """Posts a signed payload to a customer's URL, once."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        """POST and report; a failure of the network or of the receiver is a `DeliveryResult`, not an exception."""
