"""How settings become payment providers, and that each of them has its task queue."""

import pytest
from pydantic import SecretStr

from activities.adapters.stripe_provider import StripeProvider
from activities.ports import PaymentProvider
from starter.clients import payment_providers
from starter.settings import Settings, SettingsError
from workflows.contracts import PAYMENT_PROVIDERS, QUEUES, payments_queue

ALL = Settings(
    sandbox_provider_url="http://127.0.0.1:9",
    stripe_secret_key=SecretStr("sk_test_1"),
    stripe_webhook_secret=SecretStr("whsec_new, whsec_old,"),
    razorpay_key_id="rzp_test_1",
    razorpay_key_secret=SecretStr("secret"),
    public_url="https://billing.example/",
)


async def close(providers: dict[str, PaymentProvider]) -> None:
    for provider in providers.values():
        await provider.aclose()


async def test_every_provider_that_is_configured_exists_and_has_a_queue() -> None:
    providers = payment_providers(ALL)
    assert tuple(providers) == PAYMENT_PROVIDERS
    assert {payments_queue(name) for name in providers} <= set(QUEUES)
    assert isinstance(providers["stripe"], StripeProvider)
    await close(providers)
    assert payment_providers(Settings()) == {}


def test_a_key_without_its_secret_is_named() -> None:
    with pytest.raises(SettingsError, match="DURABILL_RAZORPAY_KEY_SECRET is not set"):
        payment_providers(Settings(razorpay_key_id="rzp_test_1"))


def test_secrets_are_hidden_and_may_be_several() -> None:
    assert ALL.secrets_of("stripe_webhook_secret") == ["whsec_new", "whsec_old"]
    assert ALL.secrets_of("razorpay_webhook_secret") == []
    assert "sk_test_1" not in repr(ALL)
    assert ALL.return_url == "https://billing.example"
    assert Settings(payment_return_url="https://shop.example/thanks").return_url == "https://shop.example/thanks"
