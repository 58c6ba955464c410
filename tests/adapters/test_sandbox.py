"""The sandbox payment provider: our adapter against the real process of the fake company."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from activities.adapters.sandbox import SandboxProvider
from activities.ports import (
    ActionRequired,
    BadWebhook,
    Charged,
    ChargeOutcome,
    ChargeRequest,
    Declined,
    OutcomeUnknown,
    PaymentProvider,
    ProviderRefused,
    ProviderUnavailable,
)

from .servers import Answer, ProviderProcess, Receiver

REQUEST = ChargeRequest(
    attempt_id="att_1",
    invoice_id="inv_1",
    customer_id="cust_1",
    payment_method="pm_card_succeeds",
    amount=Decimal("12.50"),
    currency="usd",
    description="Invoice INV-202503-00001",
    metadata={"tenant_id": "tenant_1", "environment_id": "env_1"},
)


def request(token: str, attempt: int = 1, customer: str = "cust_1") -> ChargeRequest:
    return replace(REQUEST, payment_method=token, attempt_id=f"att_{customer}_{attempt}", customer_id=customer)


async def summary(process: ProviderProcess) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        read: dict[str, Any] = (await client.get(f"{process.url}/books/summary")).json()
        return read


def kind(outcome: ChargeOutcome) -> str:
    return outcome.kind if isinstance(outcome, Declined) else outcome.outcome


async def test_a_charge_is_made_once_however_often_it_is_asked_for(
    provider: SandboxProvider, provider_process: ProviderProcess
) -> None:
    port: PaymentProvider = provider
    first = await port.charge(REQUEST)
    again = await asyncio.gather(*(port.charge(REQUEST) for _ in range(5)))
    assert isinstance(first, Charged)
    assert again == [first] * 5
    assert await port.find_charge("att_1") == first
    books = await summary(provider_process)
    assert books["invoices"] == {"inv_1": {"attempts": 1, "succeeded": 1, "declined": 0, "requires_action": 0}}
    assert books["totals"] == {"usd": "12.5"}
    assert books["invoices_charged_more_than_once"] == []


async def test_two_attempts_for_one_invoice_are_counted_as_a_double_charge(
    provider: SandboxProvider, provider_process: ProviderProcess
) -> None:
    await provider.charge(REQUEST)
    await provider.charge(replace(REQUEST, attempt_id="att_2"))
    assert (await summary(provider_process))["invoices_charged_more_than_once"] == ["inv_1"]


async def test_one_key_belongs_to_one_body(provider: SandboxProvider) -> None:
    await provider.charge(REQUEST)
    await provider.charge(replace(REQUEST, amount=Decimal("12.500")))
    with pytest.raises(ProviderRefused, match="att_1"):
        await provider.charge(replace(REQUEST, amount=Decimal("12.51")))


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("pm_card_declines_soft", Declined("insufficient_funds", "soft")),
        ("pm_card_declines_hard", Declined("card_stolen", "hard")),
        ("pm_card_of_nobody", Declined("no_such_payment_method", "hard")),
        ("pm_script_ok_later", Declined("no_such_payment_method", "hard")),
    ],
)
async def test_a_decline_is_a_value(provider: SandboxProvider, token: str, expected: Declined) -> None:
    outcome = await provider.charge(request(token))
    assert isinstance(outcome, Declined)
    assert outcome.provider_payment_id is not None
    assert replace(outcome, provider_payment_id=None) == expected
    assert await provider.find_charge(request(token).attempt_id) == outcome


async def test_a_lost_answer_is_found_by_lookup_and_by_the_same_key(
    provider: SandboxProvider, provider_process: ProviderProcess
) -> None:
    asked = request("pm_card_answer_lost")
    with pytest.raises(OutcomeUnknown):
        await provider.charge(asked)
    found = await provider.find_charge(asked.attempt_id)
    assert isinstance(found, Charged)
    assert await provider.charge(asked) == found
    books = await summary(provider_process)
    assert (books["charges"], books["answers_lost"]) == (1, 1)


async def test_a_script_is_followed_attempt_by_attempt_and_customer_by_customer(provider: SandboxProvider) -> None:
    token = "pm_script_ok_soft_hard_ok"
    first = [kind(await provider.charge(request(token, number))) for number in range(6)]
    repeated = [kind(await provider.charge(request(token, number))) for number in range(6)]
    other = kind(await provider.charge(request(token, 1, customer="cust_2")))
    assert first == repeated == ["charged", "soft", "hard", "charged", "charged", "charged"]
    assert other == "charged"


async def test_a_company_that_is_down_has_charged_nothing(provider: SandboxProvider) -> None:
    asked = request("pm_script_down_down_soft")
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            await provider.charge(asked)
        assert await provider.find_charge(asked.attempt_id) is None
    assert kind(await provider.charge(asked)) == "soft"


async def test_an_action_is_completed_on_its_page_and_heard_by_webhook(
    provider: SandboxProvider, receiver: Receiver
) -> None:
    outcome = await provider.charge(REQUEST_WITH_ACTION)
    assert isinstance(outcome, ActionRequired)
    receiver.answers = [Answer(503)]
    async with httpx.AsyncClient() as client:
        page = await client.get(outcome.url)
        assert "12.5 usd" in page.text
        done = await client.post(outcome.url, data={"decision": "approve"})
        again = await client.post(outcome.url, data={"decision": "refuse"})
    assert done.json()["status"] == again.json()["status"] == "succeeded"
    refused, accepted = await receiver.next(), await receiver.next()
    assert refused.path == accepted.path == "/v1/webhooks/sandbox/tenant_1/env_1"
    assert refused.headers["webhook-id"] == accepted.headers["webhook-id"]
    event = provider.parse_webhook(accepted.headers, accepted.body, datetime.now(UTC))
    assert event.event_id == accepted.headers["webhook-id"]
    assert (event.provider, event.type) == ("sandbox", "charge.succeeded")
    assert (event.attempt_id, event.invoice_id) == (REQUEST_WITH_ACTION.attempt_id, "inv_1")
    assert event.outcome == Charged(outcome.provider_payment_id)
    assert await provider.find_charge(REQUEST_WITH_ACTION.attempt_id) == event.outcome


REQUEST_WITH_ACTION = request("pm_card_needs_action")


async def test_a_refused_action_declines(provider: SandboxProvider, receiver: Receiver) -> None:
    outcome = await provider.charge(REQUEST_WITH_ACTION)
    assert isinstance(outcome, ActionRequired)
    async with httpx.AsyncClient() as client:
        assert (await client.post(outcome.url, data={"decision": "refuse"})).status_code == 200
    webhook = await receiver.next()
    event = provider.parse_webhook(webhook.headers, webhook.body, datetime.now(UTC))
    assert event.outcome == Declined("authentication_failed", "soft", outcome.provider_payment_id)


async def test_a_webhook_is_refused_when_altered_old_or_unsigned(provider: SandboxProvider, receiver: Receiver) -> None:
    outcome = await provider.charge(REQUEST_WITH_ACTION)
    assert isinstance(outcome, ActionRequired)
    async with httpx.AsyncClient() as client:
        await client.post(outcome.url)
    webhook = await receiver.next()
    now = datetime.now(UTC)
    with pytest.raises(BadWebhook, match="does not match"):
        provider.parse_webhook(webhook.headers, webhook.body.replace(b"succeeded", b"declined"), now)
    for moment in (now + timedelta(minutes=6), now - timedelta(minutes=6)):
        with pytest.raises(BadWebhook, match="webhook-timestamp"):
            provider.parse_webhook(webhook.headers, webhook.body, moment)
    unsigned = {name: value for name, value in webhook.headers.items() if name != "webhook-signature"}
    with pytest.raises(BadWebhook, match="webhook-signature is missing"):
        provider.parse_webhook(unsigned, webhook.body, now)
    with pytest.raises(BadWebhook, match="whole Unix seconds"):
        provider.parse_webhook(webhook.headers | {"webhook-timestamp": "soon"}, webhook.body, now)


async def test_the_books_outlive_kill_9(provider: SandboxProvider, provider_process: ProviderProcess) -> None:
    """Charges go on while the process is killed and started again; every attempt ends as one charge."""
    requests = [replace(REQUEST, attempt_id=f"att_{n}", invoice_id=f"inv_{n}") for n in range(40)]
    answered = asyncio.Event()

    async def persist(asked: ChargeRequest) -> ChargeOutcome:
        while True:
            try:
                outcome = await provider.charge(asked)
                answered.set()
                return outcome
            except (ProviderUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.1)

    running = [asyncio.create_task(persist(asked)) for asked in requests]
    await answered.wait()
    provider_process.kill()
    early = [task.result() for task in running if task.done()]
    with pytest.raises(ProviderUnavailable):
        await provider.find_charge("att_0")
    provider_process.start()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*running)
    books = await summary(provider_process)
    assert early
    assert {outcome.outcome for outcome in outcomes} == {"charged"}
    assert books["charges"] == books["by_status"]["succeeded"] == len(books["invoices"]) == 40
    assert books["invoices_charged_more_than_once"] == []
    assert books["totals"] == {"usd": "500"}


async def test_a_webhook_waits_in_the_books_until_the_receiver_is_back(
    provider: SandboxProvider, provider_process: ProviderProcess, receiver: Receiver
) -> None:
    outcome = await provider.charge(REQUEST_WITH_ACTION)
    assert isinstance(outcome, ActionRequired)
    receiver.answers = [Answer(500)]
    async with httpx.AsyncClient() as client:
        await client.post(outcome.url)
    await receiver.next()
    provider_process.kill()
    provider_process.start()
    webhook = await receiver.next()
    assert provider.parse_webhook(webhook.headers, webhook.body, datetime.now(UTC)).type == "charge.succeeded"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"invoice_id": ""}, "invoice_id"),
        ({"tip": "1"}, "tip"),
    ],
)
async def test_the_company_names_what_is_wrong(
    provider_process: ProviderProcess, change: dict[str, str], field: str
) -> None:
    body = {"invoice_id": "i", "customer_id": "c", "payment_method": "p", "amount": "1", "currency": "usd"} | change
    async with httpx.AsyncClient() as client:
        url = f"{provider_process.url}/v1/charges"
        answer = await client.post(url, json=body, headers={"idempotency-key": "k"})
        keyless = await client.post(url, json=body)
        garbled = await client.post(url, content=b"{", headers={"idempotency-key": "k"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{field}: ")
    assert (keyless.status_code, garbled.status_code) == (400, 400)
    assert "Idempotency-Key" in keyless.text


async def test_it_says_that_it_is_a_fake(provider_process: ProviderProcess) -> None:
    async with httpx.AsyncClient() as client:
        assert "fake payment company" in (await client.get(provider_process.url)).text


async def test_an_answer_that_takes_too_long_is_unknown(receiver: Receiver) -> None:
    receiver.answers = [Answer(silent=True), Answer(500), Answer(200, body=b"<html>"), Answer(200, body=b"[]")]
    provider = SandboxProvider(receiver.url, [], timeout_seconds=0.3)
    for _ in range(4):
        with pytest.raises(OutcomeUnknown):
            await provider.charge(REQUEST)
    receiver.answers = [Answer(429), Answer(200, body=b"{}")]
    with pytest.raises(ProviderUnavailable):
        await provider.charge(REQUEST)
    with pytest.raises(ProviderUnavailable):
        await provider.find_charge("att_1")
    with pytest.raises(BadWebhook, match="no signing secret"):
        provider.parse_webhook({}, b"{}", datetime.now(UTC))
    await provider.aclose()
