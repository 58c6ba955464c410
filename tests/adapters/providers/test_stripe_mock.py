"""Our requests against Stripe's own mock server, which checks them against Stripe's published API description.

It keeps no state: every answer is an example, so what is proved is the shape of requests and that examples can be read.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from activities.adapters.stripe_provider import StripeProvider
from activities.ports import ChargeRequest, Declined, ProviderRefused, RefundRequest
from deploy.embedded import golang
from tests.adapters.servers import free_port

from .counterparts import RETURN_URL

MODULE = Path(__file__).parent / "stripe_mock"
PACKAGE = "github.com/stripe/stripe-mock"
REQUEST = ChargeRequest(
    attempt_id="attempt_1",
    invoice_id="inv_1",
    customer_id="cust_1",
    payment_method="pm_card_visa",
    amount=Decimal("12.50"),
    currency="usd",
    description="Invoice INV-202503-00001",
    metadata={"tenant_id": "tenant_1", "environment_id": "env_1"},
)
needs_go = pytest.mark.skipif(
    not (golang.available() or golang.place("stripe-mock", MODULE).is_file()),
    reason="Stripe's mock server is built by Go, and there is no `go` on PATH",
)


@pytest.fixture(scope="module")
async def mock_url() -> AsyncIterator[str]:
    """The mock server on a free port."""
    program = await asyncio.to_thread(
        golang.build, "stripe-mock", MODULE, PACKAGE, "Preparing Stripe's mock server (once a machine)"
    )
    address = f"127.0.0.1:{free_port()}"
    unused = f"127.0.0.1:{free_port()}"
    argv = [str(program), "-http-addr", address, "-https-addr", unused]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            await _answers(f"http://{address}")
            yield f"http://{address}"
        finally:
            process.kill()


async def _answers(url: str) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            try:
                await client.get(url)
                return
            except httpx.TransportError:
                await asyncio.sleep(0.05)


@pytest.fixture
async def provider(mock_url: str) -> AsyncIterator[StripeProvider]:
    """Our adapter, talking to it."""
    provider = StripeProvider("sk_test_123", [], RETURN_URL, api_base=mock_url)
    yield provider
    await provider.aclose()


@needs_go
async def test_charge_and_lookup_are_requests_that_stripe_knows(provider: StripeProvider) -> None:
    """The example intent has failed for no reason in particular; only an accepted request is answered with it."""
    for asked in (REQUEST, replace(REQUEST, provider_customer_id="cus_1", description="")):
        charged = await provider.charge(asked)
        assert isinstance(charged, Declined)
        assert str(charged.provider_payment_id).startswith("pi_")
    assert isinstance(await provider.find_charge("attempt_1"), Declined)


@needs_go
async def test_the_list_is_a_request_that_stripe_knows(provider: StripeProvider) -> None:
    assert await provider._listed("attempt_1", searchable=True) is None


@needs_go
async def test_asking_the_customer_is_a_request_that_stripe_knows(provider: StripeProvider) -> None:
    error = {"code": "authentication_required", "payment_method": {"id": "pm_1"}}
    waiting = {"id": "pi_1", "status": "requires_payment_method", "last_payment_error": error}
    asked = await provider._settled(waiting, "attempt_1")
    assert isinstance(asked, Declined)
    assert asked.reason == "card_declined"


@needs_go
async def test_a_refund_is_a_request_that_stripe_knows(provider: StripeProvider) -> None:
    refund = await provider.refund(RefundRequest("refund_1", "pi_1", Decimal("1"), "usd", {"reason": "goodwill"}))
    assert refund.outcome == "refunded"


@needs_go
async def test_the_mock_server_refuses_what_stripe_does_not_know(mock_url: str) -> None:
    """Else the tests above would prove nothing."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{mock_url}/v1/payment_intents",
            data={"amount": "1", "currency": "usd", "confirmed": "true"},
            headers={"authorization": "Bearer sk_test_123"},
        )
    assert answer.status_code == 400
    provider = StripeProvider("not_a_key", [], RETURN_URL, api_base=mock_url)
    with pytest.raises(ProviderRefused, match="401"):
        await provider.charge(REQUEST)
    await provider.aclose()
