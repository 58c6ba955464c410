"""The adapters against the companies' own test modes, when test keys are in the environment. No money moves there."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from decimal import Decimal

import httpx
import pytest
from ulid import ULID

from activities.adapters.razorpay_provider import RazorpayProvider
from activities.adapters.stripe_provider import StripeProvider
from activities.ports import (
    ActionRequired,
    Charged,
    ChargeRequest,
    Declined,
    RefundDeclined,
    Refunded,
    RefundRequest,
)

from .counterparts import RETURN_URL

STRIPE_KEY = os.environ.get("DURABILL_STRIPE_SECRET_KEY", "")
RAZORPAY_KEYS = (
    os.environ.get("DURABILL_RAZORPAY_KEY_ID", ""),
    os.environ.get("DURABILL_RAZORPAY_KEY_SECRET", ""),
)
needs_stripe = pytest.mark.skipif(
    not STRIPE_KEY.startswith(("sk_test_", "rk_test_")),
    reason="DURABILL_STRIPE_SECRET_KEY holds no key of Stripe's test mode",
)
needs_razorpay = pytest.mark.skipif(
    not RAZORPAY_KEYS[0].startswith("rzp_test_"), reason="DURABILL_RAZORPAY_KEY_ID holds no key of Razorpay's test mode"
)
Attach = Callable[[str], Awaitable[str]]


def request(method: str, currency: str = "usd") -> ChargeRequest:
    return ChargeRequest(
        attempt_id=f"attempt_{ULID()}",
        invoice_id="inv_of_a_test",
        customer_id="cust_of_a_test",
        payment_method=method,
        amount=Decimal("12.5"),
        currency=currency,
        description="A test",
        metadata={"tenant_id": "tenant_of_a_test", "environment_id": "env_of_a_test"},
    )


@pytest.fixture
async def stripe() -> AsyncIterator[StripeProvider]:
    """Stripe's test mode."""
    provider = StripeProvider(STRIPE_KEY, [], RETURN_URL)
    yield provider
    await provider.aclose()


@pytest.fixture
async def attach() -> AsyncIterator[Attach]:
    """Attaches one of Stripe's test cards to a new customer and answers the method's id."""
    async with httpx.AsyncClient(base_url="https://api.stripe.com/v1", auth=(STRIPE_KEY, "")) as client:

        async def attached(card: str) -> str:
            customer = (await client.post("/customers", data={"description": "durabill test"})).json()["id"]
            answer = await client.post(f"/payment_methods/{card}/attach", data={"customer": customer})
            method: str = answer.raise_for_status().json()["id"]
            return method

        yield attached


@needs_stripe
async def test_stripe_charges_once_finds_and_refunds(stripe: StripeProvider, attach: Attach) -> None:
    asked = request(await attach("pm_card_visa"))
    charged = await stripe.charge(asked)
    assert isinstance(charged, Charged)
    assert await stripe.charge(asked) == charged
    assert await stripe.find_charge(asked.attempt_id) == charged
    refund = RefundRequest(f"refund_{ULID()}", charged.provider_payment_id, Decimal("12.5"), "usd")
    refunded = await stripe.refund(refund)
    assert isinstance(refunded, Refunded)
    assert await stripe.refund(refund) == refunded
    assert isinstance(await stripe.refund(replace(refund, refund_id=f"refund_{ULID()}")), RefundDeclined)


@needs_stripe
async def test_stripe_declines_and_asks_the_customer(stripe: StripeProvider, attach: Attach) -> None:
    declined = await stripe.charge(request(await attach("pm_card_chargeCustomerFail")))
    assert isinstance(declined, Declined)
    assert declined.kind == "soft"
    asked = request(await attach("pm_card_authenticationRequired"))
    outcome = await stripe.charge(asked)
    assert isinstance(outcome, ActionRequired)
    assert await stripe.find_charge(asked.attempt_id) == outcome
    nobody = await stripe.charge(request("pm_1AAAAAAAAAAAAAAAAAAAAAAA"))
    assert nobody == Declined("no_such_payment_method", "hard")


@needs_razorpay
async def test_razorpay_makes_one_link_and_finds_it() -> None:
    provider = RazorpayProvider(*RAZORPAY_KEYS, [], RETURN_URL)
    asked = request("payment_link", "inr")
    outcome = await provider.charge(asked)
    assert isinstance(outcome, ActionRequired)
    assert await provider.charge(asked) == outcome
    assert await provider.find_charge(asked.attempt_id) == outcome
    await provider.aclose()
