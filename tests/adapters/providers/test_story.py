"""Invoices collected by Stripe and Razorpay in a whole durabill: workers, the inbound route, the companies' events."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import clickhouse_connect
import httpx
import pytest
from sqlmodel import select

from activities.new_subscriptions import NewSubscription, create_subscription
from activities.ports import PaymentProvider
from deploy.embedded.process import Part
from models.tables import InvoiceRow, PaymentAttemptRow, ProviderEventRow
from starter.api.app import create_app
from tests.world import Servers, World, open_world, until, utc

from .company import Webhook
from .counterparts import Counterpart, RazorpayCounterpart, StripeCounterpart
from .stripe_company import signed

START = utc("2025-01-01")


@dataclass
class Stage:
    """A durabill with workers, and its API without a port."""

    world: World
    api: httpx.AsyncClient

    async def bill(self, counterpart: Counterpart, behaviour: str) -> "asyncio.Task[InvoiceRow]":
        """A customer's opening invoice, collected by that provider; done once its first attempt has an outcome."""
        world = self.world
        _providers_of(world)[counterpart.provider.name] = counterpart.provider
        await world.sell()
        await world.clock(START)
        customer = await world.customer(f"customer-{uuid.uuid4()}")
        new = NewSubscription(
            customer_id=customer.id,
            plan_id=world.plan_id,
            currency="usd",
            billing_period=world.period,
            start_date=START,
            gateway_payment_method_id=counterpart.tokens.get(behaviour) or counterpart.arm(behaviour),
            payment_gateway=counterpart.provider.name,
            proration_behavior="none",
        )
        async with world.database.transaction(world.scope) as session:
            subscription = await create_subscription(session, world.scope, new, START)

        async def opened() -> InvoiceRow:
            await world.advance(START + timedelta(seconds=1))
            return (await world.invoices(subscription.id))[0]

        return asyncio.create_task(opened())

    async def post(self, provider: str, webhook: Webhook, tenant: str | None = None) -> httpx.Response:
        """The company reports."""
        scope = self.world.scope
        path = f"/v1/webhooks/{provider}/{tenant or scope.tenant_id}/{scope.environment_id}"
        return await self.api.post(path, content=webhook.body, headers=webhook.headers)

    async def stored(self, tenant_of: World | None = None) -> list[str]:
        """The types of the events that were kept."""
        world = tenant_of or self.world
        async with world.database.transaction(world.scope) as session:
            return [row.event_type for row in (await session.exec(select(ProviderEventRow))).all()]

    async def attempts(self, invoice_id: str) -> list[PaymentAttemptRow]:
        """Every try to collect."""
        query = select(PaymentAttemptRow).where(PaymentAttemptRow.invoice_id == invoice_id)
        async with self.world.database.transaction(self.world.scope) as session:
            return list((await session.exec(query)).all())


def _providers_of(world: World) -> dict[str, PaymentProvider]:
    providers = world.clients.providers
    assert isinstance(providers, dict)
    return providers


@pytest.fixture(scope="module")
async def durabill(
    postgres: Part, clickhouse: Part, temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Servers and workers of all stories here."""
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.running.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    with clickhouse_connect.get_client(dsn=clickhouse.running.url) as client:
        client.command(f"CREATE DATABASE {name}")
    facts, usage = (f"{part.running.url.rpartition('/')[0]}/{name}" for part in (postgres, clickhouse))
    async with open_world(Servers(facts, usage, temporal_address, tmp_path_factory.mktemp("stage"))) as opened:
        await opened.start_workers()
        yield opened


@pytest.fixture
async def stage(durabill: World) -> AsyncIterator[Stage]:
    """A tenant of its own."""
    world = await durabill.another_tenant()
    app = create_app(replace(world.clients, temporal=world.temporal))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://durabill") as api:
        yield Stage(world, api)


async def paid(stage: Stage, invoice: InvoiceRow) -> InvoiceRow:
    async def is_paid() -> bool:
        return (await stage.world.invoice(invoice.id)).payment_status == "SUCCEEDED"

    await until(is_paid)
    return await stage.world.invoice(invoice.id)


async def test_stripe_asks_the_customer_and_reports_twice_and_out_of_order(
    stage: Stage, stripe: StripeCounterpart
) -> None:
    invoice = await (await stage.bill(stripe, "action"))
    (intent,) = stripe.company.intents.values()
    (attempt,) = await stage.attempts(invoice.id)
    assert attempt.gateway_attempt_id == intent["id"]
    assert attempt.action_url == intent["next_action"]["redirect_to_url"]["url"]
    assert intent["metadata"]["tenant_id"] == stage.world.scope.tenant_id

    stripe.company.finish(intent["id"], approved=True)
    for webhook in [*reversed(stripe.company.webhooks), *stripe.company.webhooks]:
        assert (await stage.post("stripe", webhook)).status_code == 200

    assert (await paid(stage, invoice)).payment_status == "SUCCEEDED"
    assert len(stripe.company.intents) == 1
    assert sorted(await stage.stored()) == [
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    ]


async def test_a_webhook_that_is_not_for_us_changes_nothing(stage: Stage, stripe: StripeCounterpart) -> None:
    invoice = await (await stage.bill(stripe, "action"))
    (intent,) = stripe.company.intents.values()
    stripe.company.webhooks.clear()
    stripe.company.finish(intent["id"], approved=True)
    (report,) = stripe.company.webhooks

    forged = signed(report.body, secret="whsec_of_a_stranger")
    altered = Webhook(report.headers, report.body.replace(b"succeeded", b"processing"))
    old = signed(report.body, at=START.timestamp())
    for bad in (forged, altered, old, Webhook({}, report.body)):
        answer = await stage.post("stripe", bad)
        assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    assert (await stage.post("paypal", report)).status_code == 404
    other = await stage.world.another_tenant()
    assert (await stage.post("stripe", report, tenant=other.scope.tenant_id)).status_code == 200
    unknown = report.body.replace(intent["metadata"]["attempt_id"].encode(), b"attempt_of_nobody")
    assert (await stage.post("stripe", signed(unknown.replace(b"evt_", b"evt_x")))).status_code == 200

    assert await stage.stored() == ["payment_intent.succeeded"]  # the one of nobody, kept for people
    assert (await stage.world.invoice(invoice.id)).payment_status == "PENDING"
    assert (await stage.post("stripe", report)).status_code == 200
    await paid(stage, invoice)


@pytest.mark.parametrize("trouble", ["lost", "broken", "down"])
@pytest.mark.parametrize("company", ["stripe", "razorpay"])
async def test_an_answer_that_is_lost_or_refused_charges_once(
    stage: Stage, stripe: StripeCounterpart, razorpay: RazorpayCounterpart, company: str, trouble: str
) -> None:
    counterpart: StripeCounterpart | RazorpayCounterpart = stripe if company == "stripe" else razorpay
    invoice = await (await stage.bill(counterpart, trouble))
    await paid(stage, invoice)
    assert await counterpart.successes(invoice.id) == 1
    assert [attempt.payment_status for attempt in await stage.attempts(invoice.id)] == ["SUCCEEDED"]


async def test_a_upi_mandate_is_debited_days_later_and_paid_once(stage: Stage, razorpay: RazorpayCounterpart) -> None:
    billing = await stage.bill(razorpay, "slow")

    async def asked() -> bool:
        return bool(razorpay.company.payments)

    await until(asked)
    (payment,) = razorpay.company.payments.values()
    razorpay.company.finish(payment["id"], approved=True)
    for webhook in [*razorpay.company.webhooks, *razorpay.company.webhooks]:
        assert (await stage.post("razorpay", webhook)).status_code == 200
    invoice = await billing
    await paid(stage, invoice)
    assert len(razorpay.company.payments) == 1
    assert sorted(await stage.stored()) == ["order.paid", "payment.authorized", "payment.captured"]


async def test_a_payment_link_is_shown_and_its_payment_settles_the_invoice(
    stage: Stage, razorpay: RazorpayCounterpart
) -> None:
    invoice = await (await stage.bill(razorpay, "action"))
    (link,) = razorpay.company.links.values()
    (attempt,) = await stage.attempts(invoice.id)
    assert attempt.action_url == link["short_url"]
    razorpay.company.visit(link["id"], approved=True)
    for webhook in reversed(razorpay.company.webhooks):
        assert (await stage.post("razorpay", webhook)).status_code == 200
    await paid(stage, invoice)
    assert await razorpay.successes(invoice.id) == 1
