"""What the contract suite needs to know of each company: its tokens, how its customer decides, what its books say."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import httpx

from activities.adapters.razorpay_provider import RazorpayProvider
from activities.adapters.sandbox import SandboxProvider
from activities.adapters.stripe_provider import StripeProvider
from activities.adapters.webhook_signature import new_secret
from activities.ports import ActionRequired, ChargeRequest, PaymentProvider
from tests.adapters.servers import ProviderProcess, Receiver, free_port

from . import razorpay_company, stripe_company
from .company import Company, Webhook
from .razorpay_company import RazorpayCompany
from .stripe_company import StripeCompany

RETURN_URL = "https://billing.example/paid"
SIGNATURES = ("webhook-signature", "stripe-signature", "x-razorpay-signature")


class Counterpart(ABC):
    """One provider's adapter, and the company at its other end."""

    tokens: ClassVar[Mapping[str, str]]
    """By behaviour: ok, soft, hard, action, unknown_method."""
    currency: ClassVar[str] = "usd"

    def __init__(self, provider: PaymentProvider) -> None:
        self.provider = provider

    def request(
        self, behaviour: str, number: int = 1, invoice: str = "inv_1", amount: str = "12.5", currency: str | None = None
    ) -> ChargeRequest:
        """A charge that goes as `behaviour` says; other behaviours than the tokens' are armed at the company."""
        return ChargeRequest(
            attempt_id=f"attempt_01J0000000000000{invoice}{number}",
            invoice_id=invoice,
            customer_id="cust_1",
            payment_method=self.tokens.get(behaviour) or self.arm(behaviour),
            amount=Decimal(amount),
            currency=currency or self.currency,
            description="Invoice INV-202503-00001",
            metadata={"tenant_id": "tenant_1", "environment_id": "env_1"},
        )

    @abstractmethod
    def arm(self, behaviour: str) -> str:
        """Make the next charge `lost` (taken, no answer) or `down` (turned away); answers the token to use."""

    @abstractmethod
    async def decide(self, asked: ActionRequired, approved: bool) -> None:
        """The customer visits the page and pays, or refuses for good."""

    @abstractmethod
    async def webhooks_of_decision(self) -> list[Webhook]:
        """What the company has sent since the customer decided."""

    @abstractmethod
    async def successes(self, invoice_id: str) -> int:
        """How many charges for the invoice took money."""

    @abstractmethod
    def stop(self) -> None:
        """Take the company off the network."""


class SandboxCounterpart(Counterpart):
    """The fake payment company that durabill ships, as a real process."""

    tokens: ClassVar[Mapping[str, str]] = {
        "ok": "pm_card_succeeds",
        "soft": "pm_card_declines_soft",
        "hard": "pm_card_declines_hard",
        "action": "pm_card_needs_action",
        "unknown_method": "pm_nobody",
        "lost": "pm_card_answer_lost",
        "down": "pm_script_down_ok",
    }

    def __init__(self, provider: PaymentProvider, process: ProviderProcess, receiver: Receiver) -> None:
        super().__init__(provider)
        self._process = process
        self._receiver = receiver

    def arm(self, behaviour: str) -> str:
        raise ValueError(f"the sandbox has a token for everything but {behaviour!r}")

    async def decide(self, asked: ActionRequired, approved: bool) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(asked.url, data={"decision": "approve" if approved else "refuse"})

    async def webhooks_of_decision(self) -> list[Webhook]:
        received = await self._receiver.next()
        return [Webhook(received.headers, received.body)]

    async def successes(self, invoice_id: str) -> int:
        async with httpx.AsyncClient() as client:
            books = (await client.get(f"{self._process.url}/books/summary")).json()
        count: int = books["invoices"].get(invoice_id, {"succeeded": 0})["succeeded"]
        return count

    def stop(self) -> None:
        self._process.kill()


class StripeCounterpart(Counterpart):
    """A small Stripe of ours."""

    tokens: ClassVar[Mapping[str, str]] = {
        "ok": stripe_company.OK,
        "soft": stripe_company.SOFT,
        "hard": stripe_company.HARD,
        "action": stripe_company.ACTION,
        "slow": stripe_company.SLOW,
        "unknown_method": "pm_nobody",
    }

    def __init__(self, provider: PaymentProvider, company: StripeCompany) -> None:
        super().__init__(provider)
        self.company = company

    def arm(self, behaviour: str) -> str:
        return arm(self.company, behaviour, self.tokens["ok"])

    async def decide(self, asked: ActionRequired, approved: bool) -> None:
        self.company.webhooks.clear()
        self.company.finish(asked.provider_payment_id, approved)

    async def webhooks_of_decision(self) -> list[Webhook]:
        return list(self.company.webhooks)

    async def successes(self, invoice_id: str) -> int:
        return len(self.company.taken(invoice_id))

    def stop(self) -> None:
        self.company.stop()


class RazorpayCounterpart(Counterpart):
    """A small Razorpay of ours; its customers act by payment links."""

    tokens: ClassVar[Mapping[str, str]] = {
        "ok": f"{razorpay_company.CUSTOMER}/{razorpay_company.OK}",
        "soft": f"{razorpay_company.CUSTOMER}/{razorpay_company.SOFT}",
        "hard": f"{razorpay_company.CUSTOMER}/{razorpay_company.HARD}",
        "action": "payment_link",
        "slow": f"{razorpay_company.CUSTOMER}/{razorpay_company.UPI}",
        "unknown_method": f"{razorpay_company.CUSTOMER}/token_of_nobody",
    }
    currency: ClassVar[str] = "inr"

    def __init__(self, provider: PaymentProvider, company: RazorpayCompany) -> None:
        super().__init__(provider)
        self.company = company

    def arm(self, behaviour: str) -> str:
        self.company.trouble.at = "/payments/create/recurring"
        return arm(self.company, behaviour, self.tokens["ok"])

    async def decide(self, asked: ActionRequired, approved: bool) -> None:
        self.company.webhooks.clear()
        self.company.visit(asked.provider_payment_id, approved)

    async def webhooks_of_decision(self) -> list[Webhook]:
        return list(self.company.webhooks)

    async def successes(self, invoice_id: str) -> int:
        return len(self.company.taken(invoice_id))

    def stop(self) -> None:
        self.company.stop()


def arm(company: Company, behaviour: str, token: str) -> str:
    """Let the next request that creates something go wrong; answers `token`."""
    name = {"lost": "answers_lost", "down": "turned_away", "broken": "broken", "garbled": "garbled"}[behaviour]
    setattr(company.trouble, name, 1)
    return token


@asynccontextmanager
async def sandbox(folder: Path) -> AsyncIterator[SandboxCounterpart]:
    """The sandbox over new books."""
    receiver = Receiver()
    url = f"{receiver.url}/v1/webhooks/sandbox/{{tenant}}/{{environment}}"
    process = ProviderProcess(folder / "books.sqlite", free_port(), url, new_secret())
    process.start()
    provider = SandboxProvider(process.url, [process.webhook_secret])
    try:
        await process.ready()
        yield SandboxCounterpart(provider, process, receiver)
    finally:
        await provider.aclose()
        process.kill()
        receiver.close()


@asynccontextmanager
async def stripe(folder: Path) -> AsyncIterator[StripeCounterpart]:
    """A new Stripe account."""
    company = StripeCompany()
    secrets = ["whsec_of_next_week", stripe_company.SECRET]
    provider = StripeProvider(stripe_company.KEY, secrets, RETURN_URL, api_base=company.url, timeout_seconds=5)
    try:
        yield StripeCounterpart(provider, company)
    finally:
        await provider.aclose()
        company.stop()


@asynccontextmanager
async def razorpay(folder: Path) -> AsyncIterator[RazorpayCounterpart]:
    """A new Razorpay account."""
    company = RazorpayCompany()
    keys = (razorpay_company.KEY_ID, razorpay_company.KEY_SECRET, ["of_next_week", razorpay_company.SECRET])
    provider = RazorpayProvider(*keys, RETURN_URL, api_base=company.url, timeout_seconds=5)
    try:
        yield RazorpayCounterpart(provider, company)
    finally:
        await provider.aclose()
        company.stop()


ALL: Mapping[str, Callable[[Path], AbstractAsyncContextManager[Counterpart]]] = {
    "sandbox": sandbox,
    "stripe": stripe,
    "razorpay": razorpay,
}
