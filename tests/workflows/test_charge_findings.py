"""Money in a provider's books that is not in ours, and the reverse, is found; what is safe is booked."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pytest

from activities.findings import CHARGE_MISSING, CHARGE_UNKNOWN
from activities.ports import ChargeRequest, ProviderUnavailable
from tests.workflows.test_reconciliation import change, open_findings, passed, passed_as, running
from tests.workflows.test_saved_views import until_shown
from tests.world import World, until


def an_hour_ago(world: World, column: str, value: str) -> None:
    """The company made that charge an hour ago: younger ones may still be on their way into our books."""
    with closing(sqlite3.connect(world.provider.books, timeout=10)) as books, books:
        made = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')"
        changed = books.execute(f"UPDATE charges SET created_at = {made} WHERE {column} = ?", (value,))
        assert changed.rowcount == 1


async def charged_by_nobody(world: World, attempt_id: str, **more: str) -> str:
    """The company takes 12.5 for an attempt that nobody has written down. Returns the charge's id."""
    metadata = {"tenant_id": world.scope.tenant_id, "environment_id": world.scope.environment_id, **more}
    outcome = await world.clients.providers["sandbox"].charge(
        ChargeRequest(attempt_id, "inv_gone", "cust_1", "pm_card_succeeds", Decimal("12.5"), "usd", metadata=metadata)
    )
    an_hour_ago(world, "attempt_id", attempt_id)
    return str(outcome.provider_payment_id)


async def of(world: World, name: str) -> Mapping[str, str]:
    """The sentences of the tenant's open findings of that name."""
    return {about: row.sentence for (kind, about), row in (await open_findings(world)).items() if kind == name}


async def test_a_charge_whose_news_were_lost_is_booked(world: World) -> None:
    """The customer confirms while nothing of ours listens, and the company gives its webhook up."""
    await world.sell()
    customer = await world.customer("acme")
    subscription = await world.subscribe(customer, datetime.now(UTC), card="pm_card_needs_action")
    (invoice,) = await world.invoices(subscription.id)

    async def asked() -> bool:
        return (await world.invoice(invoice.id)).needs_attention is not None

    await until(asked)
    (charge,) = await world.charges(invoice.id)
    async with httpx.AsyncClient() as client:
        (await client.post(charge["action_url"], data={"decision": "approve"})).raise_for_status()
    an_hour_ago(world, "id", charge["id"])

    made = await passed(world, "ReconciliationWorkflow")

    about = f"sandbox/{charge['id']}"
    assert made.repaired[CHARGE_UNKNOWN] == 1
    assert "sandbox took 10 USD" in (await of(world, CHARGE_UNKNOWN))[about]
    paid = await world.closed(invoice.id)
    assert (paid.payment_status, paid.amount_paid) == ("SUCCEEDED", Decimal(10))

    await passed(world, "ReconciliationWorkflow")
    assert await open_findings(world) == {}


async def test_a_charge_of_an_attempt_that_we_do_not_have_waits_for_a_person(world: World) -> None:
    """As after the database was restored to an earlier time. Given back at the company, it is no finding any more."""
    charge = await charged_by_nobody(world, f"attempt_{world.scope.tenant_id}")

    await passed(world, "ReconciliationWorkflow")
    audit = await passed_as(world, "AuditWorkflow")

    await until_shown(world, "findings-today", audit)
    about = f"sandbox/{charge}"
    finding = (await open_findings(world))[CHARGE_UNKNOWN, about]
    assert (finding.repaired, finding.times_seen) == (False, 2)
    assert "sandbox took 12.5 USD" in finding.sentence
    assert "give the money back at sandbox" in finding.sentence

    async with httpx.AsyncClient(base_url=world.provider.url) as client:
        refund = {"charge_id": charge, "amount": "12.5"}
        await client.post("/v1/refunds", json=refund, headers={"idempotency-key": f"back/{charge}"})
    await passed(world, "ReconciliationWorkflow")
    assert await of(world, CHARGE_UNKNOWN) == {}


async def test_charges_of_others_on_the_same_account_are_left_alone(world: World) -> None:
    await charged_by_nobody(world, f"attempt_other_{world.scope.tenant_id}", tenant_id="tenant_of_another_durabill")

    made = await passed(world, "ReconciliationWorkflow")

    assert CHARGE_UNKNOWN not in made.found


async def test_a_payment_that_the_company_does_not_have_is_found_and_said_on_the_invoice(world: World) -> None:
    """As when the keys of another account are configured."""
    subscription = await running(world)
    (invoice,) = await world.invoices(subscription.id)
    await change(
        world,
        "UPDATE payment_attempts SET updated_at = updated_at - interval '1 hour' WHERE invoice_id = :id",
        id=invoice.id,
    )
    (charge,) = await world.charges(invoice.id)
    with closing(sqlite3.connect(world.provider.books, timeout=10)) as books, books:
        books.execute("UPDATE charges SET attempt_id = attempt_id || '/gone' WHERE id = ?", (charge["id"],))

    await passed(world, "ReconciliationWorkflow")

    sentence = (await of(world, CHARGE_MISSING))[invoice.id]
    assert "Booked as paid: 10 USD" in sentence
    assert "sandbox does not know it" in sentence
    assert (await world.invoice(invoice.id)).needs_attention == sentence

    with closing(sqlite3.connect(world.provider.books, timeout=10)) as books, books:
        books.execute("UPDATE charges SET attempt_id = replace(attempt_id, '/gone', '') WHERE id = ?", (charge["id"],))
    await passed(world, "ReconciliationWorkflow")
    assert await of(world, CHARGE_MISSING) == {}
    assert (await world.invoice(invoice.id)).needs_attention is None


async def test_another_amount_in_the_companys_books_is_found(world: World) -> None:
    subscription = await running(world)
    (invoice,) = await world.invoices(subscription.id)
    await change(
        world,
        "UPDATE payment_attempts SET updated_at = updated_at - interval '1 hour' WHERE invoice_id = :id",
        id=invoice.id,
    )
    with closing(sqlite3.connect(world.provider.books, timeout=10)) as books, books:
        books.execute("UPDATE charges SET amount = '9' WHERE invoice_id = ?", (invoice.id,))

    await passed(world, "ReconciliationWorkflow")

    assert "sandbox took 9 USD" in (await of(world, CHARGE_MISSING))[invoice.id]


async def test_a_company_that_is_silent_closes_nothing_and_holds_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = await charged_by_nobody(world, f"attempt_silent_{world.scope.tenant_id}")
    await passed(world, "ReconciliationWorkflow")
    assert set(await of(world, CHARGE_UNKNOWN)) == {f"sandbox/{charge}"}

    def silent(*_window: object) -> None:
        raise ProviderUnavailable("sandbox: cannot be reached")

    monkeypatch.setattr(world.clients.providers["sandbox"], "taken_charges", silent)
    await passed(world, "ReconciliationWorkflow")

    assert set(await of(world, CHARGE_UNKNOWN)) == {f"sandbox/{charge}"}
