"""Every story of tests/scenarios on the running stack: what the simulator says is what the stack bills.

Each has a tenant of its own, so that they can be played side by side. Stories with parts that the API does not offer
are named as not playable; a test says when a door is open by now.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from activities.wallets import OFFERED
from billing.errors import Invalid
from billing.subscriptions import CancellationType
from models.billing_settings import billing_settings
from starter.cli.api_client import Api
from starter.schemas.catalog import CreatePlanRequest
from starter.schemas.prices import CreatePriceRequest
from starter.schemas.subscriptions import CreateSubscriptionRequest, OverrideLineItem
from starter.schemas.wallets import CreateWalletRequest
from starter.schemas.wire import Request
from starter.simulate import gaps
from starter.simulate.comparing import Comparison
from starter.simulate.on_stack import compare, without_stack
from tests.api.conftest import Server, Tenant, new_tenant
from tests.scenarios.test_stories import FOLDER, STORIES

PLAYABLE_MIN = 43
"""The number of stories that a stack can play may only grow."""
AT_ONCE = 4
BODIES: dict[str, type[Request]] = {
    "prices": CreatePriceRequest,
    "plans": CreatePlanRequest,
    "subscriptions": CreateSubscriptionRequest,
    "wallets": CreateWalletRequest,
    "subscriptions: override_line_items": OverrideLineItem,
}
"""What refuses a field by its name."""


def told(name: str) -> str:
    """The document of a story."""
    return (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def played(text: str, tenant: Tenant) -> Comparison:
    """What became of it in this tenant."""
    with Api(tenant.base_url, tenant.api_key) as api:
        return compare(api, text)


@pytest.fixture(scope="module")
def compared(server: Server) -> dict[str, Comparison]:
    """Every story, played if it can be."""

    def one(name: str) -> Comparison:
        return without_stack(told(name)) or played(told(name), new_tenant(server))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(STORIES, pool.map(one, STORIES), strict=True))


@pytest.mark.parametrize("name", STORIES)
def test_the_stack_bills_what_the_simulator_says(name: str, compared: dict[str, Comparison]) -> None:
    assert compared[name].error is None
    assert compared[name].differences == ()


def test_as_many_stories_as_ever_can_be_played(compared: dict[str, Comparison]) -> None:
    playable = [name for name, found in compared.items() if found.outcome == "same"]
    assert len(playable) >= PLAYABLE_MIN, playable
    assert sum(compared[name].invoices for name in playable) > PLAYABLE_MIN


def doors() -> list[str]:
    """Everything that the table says the API does not take."""
    found = [f"prices: {name}" for name in gaps.PRICE] + [f"plans: {name}" for name in gaps.PLAN]
    found += [f"wallets: {name}" for name in gaps.WALLET]
    return [*found, *gaps.SUBSCRIPTION.values(), *sorted(set(gaps.ACTIONS.values()))]


@pytest.mark.parametrize("door", doors())
def test_what_is_named_as_not_playable_is_not_offered(door: str, client: httpx.Client) -> None:
    """When this fails the API has grown: take the door out of starter.simulate.gaps and let the player use it."""
    if door.startswith("/"):
        assert client.post(re.sub(r"{\w+}", "x", door), json={}).status_code == 501
    else:
        where, _, field = door.replace(": ", ".").rpartition(".")
        assert field in BODIES[where.replace(".", ": ")].absent


def test_neither_are_the_settings_and_kinds(client: httpx.Client) -> None:
    for door, value in ((gaps.PRORATION_UNIT, "day"),):
        with pytest.raises(Invalid):
            billing_settings({door.removeprefix("settings: ").split()[0]: value})
    assert gaps.INVOICED.rpartition(" ")[2] not in OFFERED
    assert gaps.SCHEDULED.rpartition(" ")[2] not in set(CancellationType)


def test_a_price_of_another_period_is_not_subscribed_to(client: httpx.Client) -> None:
    plan = client.post("/plans", json={"name": "annual"}).json()
    price = {
        "type": "FIXED", "entity_type": "PLAN", "entity_id": plan["id"], "currency": "usd", "amount": "1",
        "billing_model": "FLAT_FEE", "billing_period": "ANNUAL", "invoice_cadence": "ADVANCE",
    }  # fmt: skip
    assert client.post("/prices", json=price).status_code == 201
    customer = client.post("/customers", json={"external_id": "c", "name": "C"}).json()
    body = {"customer_id": customer["id"], "plan_id": plan["id"], "currency": "usd", "billing_period": "MONTHLY"}
    assert gaps.OTHER_PERIODS
    assert client.post("/subscriptions", json=body).status_code == 400


def test_the_environments_settings_are_as_before_afterwards(client: httpx.Client, tenant: Tenant) -> None:
    before = client.put("/settings/billing", json={"due_date_days": 30, "dunning_hour": 9}).json()
    assert played(told("paid-in-parts"), tenant).outcome == "same"
    assert client.get("/settings/billing").json() == before


def test_a_story_is_played_again_and_beside_others(tenant: Tenant) -> None:
    """Names and event ids of a run are its own, and the numbers go on where the environment stands."""
    assert [played(told("amended-before-the-invoice"), tenant).outcome for _ in range(2)] == ["same", "same"]


def test_usage_that_is_sent_ahead_counts_at_its_own_hours(tenant: Tenant) -> None:
    """All calls of a day lie there when the clock is sent over it: each threshold is invoiced at its full hour."""
    story = json.loads(told("thresholds-of-an-account"))
    hours = {"00:20": "10", "03:10": "600", "07:40": "5", "11:50": "300", "12:00": "400", "16:30": "100"}
    story["usage"] = [{"meter": "calls", "at": f"2026-01-06T{at}:00Z", "quantity": n} for at, n in hours.items()]
    assert played(json.dumps(story), tenant).differences == ()


def test_a_refusal_by_the_stack_is_a_difference(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starter.simulate.setting.GATEWAY", "nobody")
    found = played(told("paid-in-parts"), tenant)
    assert found.outcome == "different"
    assert "payment_gateway 'nobody' is not configured" in found.differences[0].stack


def test_the_command_plays_documents(server: Server, tenant: Tenant) -> None:
    files = [str(FOLDER / f"{name}.json") for name in ("three-taxes-one-of-them-inside", "welcome-credits")]
    command = [str(Path(sys.executable).with_name("durabill")), "simulate", *files, "--on", server.url, "--json"]
    environment = {**os.environ, "DURABILL_API_KEY": tenant.api_key}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert [each["outcome"] for each in json.loads(ended.stdout)["scenarios"]] == ["same", "not_playable"]
