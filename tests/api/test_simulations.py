"""`POST /v1/simulations`: the simulator's result over the wire, and what a document that makes no sense is told."""

import copy
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing.errors import Invalid
from starter.api.routes import simulations
from starter.api.routes.simulations import EXAMPLE
from starter.simulate import outcomes
from tests.api.conftest import Server, Tenant, new_key

STORIES = Path(__file__).parents[1] / "scenarios"


def changed(**parts: Any) -> dict[str, Any]:
    document = copy.deepcopy(EXAMPLE)
    document.update(parts)
    return document


def test_a_story_comes_to_the_same_as_on_the_command_line(client: httpx.Client) -> None:
    name = "upgrade-in-the-middle-of-a-period"
    answer = client.post("/simulations", content=(STORIES / f"{name}.json").read_bytes())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads((STORIES / f"{name}.result.json").read_text(encoding="utf-8"))


def test_the_example_of_the_documentation_is_a_story(client: httpx.Client) -> None:
    """Two seats for 10 from 31 January, IST; a third on 10 February costs its share of the rest of the month."""
    invoices = client.post("/simulations", json=EXAMPLE).json()["invoices"]
    # February's period is 28 days (31 January to 28 February); on 10 February 18 of them are left.
    assert [invoice["total"] for invoice in invoices] == ["20", "6.43", "30"]  # 10 x 18/28 = 6.4285...


def test_nothing_is_stored(client: httpx.Client) -> None:
    assert client.post("/simulations", json=EXAMPLE).status_code == 200
    for resource in ("customers", "plans", "subscriptions", "invoices"):
        assert client.get(f"/{resource}").json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (json.dumps(changed(until="2025-01-01T00:00:00Z")).encode(), "validation_error", "until"),
        (json.dumps(changed(plans=[{"key": "pro", "price": []}])).encode(), "validation_error", "plans[0].price"),
        (b'{"until": ', "not_json", None),
        (b"\xff", "not_json", None),
        (b"[]", "validation_error", None),
    ],
)
def test_a_document_that_makes_no_sense_names_the_field(
    client: httpx.Client, body: bytes, code: str, field: str | None
) -> None:
    answer = client.post("/simulations", content=body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["http_status_code"]) == (400, code, 400), told
    assert told.get("details", {}).get("field") == field
    assert (field or "") in told["message"]


def test_a_rule_that_is_missing_names_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(document: Any, *_: Any) -> Any:
        raise Invalid("subscription.moon: billing by the moon cannot be simulated", "subscription.moon")

    monkeypatch.setattr(outcomes, "simulate", unknown)
    told = "subscription.moon: billing by the moon cannot be simulated"
    error = {"code": "validation_error", "message": told, "path": "subscription.moon"}
    assert outcomes.outcome_bytes(b"{}") == (error, b"")


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    assert client.post("/simulations", content=b" " * (1024 * 1024 + 1)).status_code == 413


def test_who_reads_may_simulate(server: Server, tenant: Tenant) -> None:
    for role, status in (("all_reader", 200), ("event_ingestor", 403)):
        with tenant.client(new_key(server, tenant.scope, (role,))) as allowed:
            assert allowed.post("/simulations", json=EXAMPLE).status_code == status


def test_a_story_that_takes_too_long_is_given_up(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    daily = {**EXAMPLE["subscription"], "billing_period": "DAILY"}
    monkeypatch.setattr(simulations, "SECONDS", 0.5)
    answer = client.post("/simulations", json=changed(subscription=daily, until="2900-01-01T00:00:00Z"))
    assert (answer.status_code, answer.json()["code"]) == (400, "story_too_long")
    monkeypatch.undo()
    assert client.post("/simulations", json=EXAMPLE).status_code == 200


def test_the_same_key_gets_the_stored_answer(client: httpx.Client) -> None:
    first, again = (client.post("/simulations", json=EXAMPLE, headers={"idempotency-key": "k"}) for _ in range(2))
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
