"""A step that fails for good: an operator sees it, reads what to do, mends the cause and says so."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle

from activities.ports import PaymentProvider
from billing.periods import BillingPeriod
from tests.world import World, until
from workflows.search_attributes import INVOICE_STATUS, NEEDS_ATTENTION, NEXT_ACTION_AT

DAY = timedelta(days=1)


@pytest.fixture
async def unconfigured(world: World) -> AsyncIterator[Mapping[str, PaymentProvider]]:
    """The workers run without any payment provider; yields those to configure."""
    providers = dict(world.clients.providers)
    await world.stop_workers()
    world.clients.providers.clear()  # type: ignore[attr-defined]  # a dict, read-only to the product
    await world.start_workers()
    yield providers
    world.clients.providers.update(providers)  # type: ignore[attr-defined]


async def needs_attention(workflow: WorkflowHandle[object, object]) -> bool:
    """What the operator's saved view filters by."""
    return (await workflow.describe()).typed_search_attributes.get(NEEDS_ATTENTION, False)


async def details(workflow: WorkflowHandle[object, object]) -> str:
    """What Temporal UI shows at the top of the workflow's page."""
    metadata: WorkflowMetadata = await workflow.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def test_a_provider_that_is_not_configured_is_reported_and_after_the_mend_the_signal_goes_on(
    world: World, unconfigured: Mapping[str, PaymentProvider]
) -> None:
    await world.sell()
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, datetime.now(UTC))
    (invoice,) = await world.invoices(subscription.id)
    await world.until_started(subscription.id)
    workflow = world.invoice_workflow(invoice.id)

    async def is_reported() -> bool:
        return await world.is_running(workflow) and await needs_attention(workflow)

    await until(is_reported)
    said = await details(workflow)
    assert said.startswith(
        "**Needs attention.** Could not collect the payment: payment provider 'sandbox' is not configured here;"
        " configured: none"
    )
    assert "send the signal `retry`" in said

    world.clients.providers.update(unconfigured)  # type: ignore[attr-defined]
    await workflow.signal("retry")

    assert (await world.closed(invoice.id)).payment_status == "SUCCEEDED"
    assert not await needs_attention(workflow)
    attributes = (await workflow.describe()).typed_search_attributes
    assert attributes[INVOICE_STATUS] == "paid"
    assert attributes.get(NEXT_ACTION_AT) is None


async def test_a_period_that_cannot_be_closed_is_reported_and_closed_after_the_mend(world: World) -> None:
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    now = datetime.now(UTC)
    boundary = now + timedelta(seconds=2)
    subscription = await world.subscribe(customer, boundary - DAY, now=now)
    await set_zone(world, subscription.id, "Mars/Olympus")
    await world.until_started(subscription.id)
    workflow = world.subscription_workflow(subscription.id)

    async def is_reported() -> bool:
        return await needs_attention(workflow)

    await until(is_reported)
    said = await details(workflow)
    assert "Could not close the period that ends at" in said
    assert "'Mars/Olympus' is not an IANA time zone" in said

    await set_zone(world, subscription.id, "UTC")
    await workflow.signal("retry")

    async def is_closed() -> bool:
        return len(await world.invoices(subscription.id)) == 2

    await until(is_closed)

    async def is_calm() -> bool:
        return not await needs_attention(workflow)

    await until(is_calm)
    assert "Needs attention" not in await details(workflow)


async def test_details_say_in_words_where_things_stand(world: World) -> None:
    await world.configure(finalization_delay_seconds=3600)
    await world.sell(BillingPeriod.DAILY)
    customer = await world.customer("acme")
    now = datetime.now(UTC)
    subscription = await world.subscribe(customer, now - DAY, now=now)

    async def is_drafted() -> bool:
        return len(await world.invoices(subscription.id)) == 2

    await until(is_drafted)
    draft = (await world.invoices(subscription.id))[-1]
    assert draft.next_action_at is not None

    async def says_the_next_period() -> bool:  # the draft is committed before the workflow hears of it
        of_subscription = await details(world.subscription_workflow(subscription.id))
        waits_for = f"| Waits for | the end of the period at {now + DAY:%Y-%m-%d %H:%M} UTC |"
        return "| Status | active |" in of_subscription and waits_for in of_subscription

    await until(says_the_next_period)
    of_invoice = await details(world.invoice_workflow(draft.id))
    assert "| Number | (draft) |" in of_invoice
    assert (
        f"| Waits for | the end of the grace for late usage, at {draft.next_action_at:%Y-%m-%d %H:%M} UTC |"
        in of_invoice
    )
    described = await world.invoice_workflow(draft.id).describe()
    assert await described.static_summary() == f"{draft.id} of {customer.id}"


async def set_zone(world: World, subscription_id: str, zone: str) -> None:
    """Breaks a subscription for good, or mends it: nothing can be reckoned in a zone that does not exist."""
    statement = text("UPDATE subscriptions SET timezone = :zone WHERE id = :id")
    async with world.database.transaction(world.scope) as session:
        await session.execute(statement, {"zone": zone, "id": subscription_id})
