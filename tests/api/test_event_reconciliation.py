"""GET /v1/events/reconciliation: what was sent comes out again, by the minute, for its tenant alone."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import Tenant

PATIENCE_SECONDS = 30
EVENT = {"event_name": "call", "external_customer_id": "acme"}


def written(client: httpx.Client, accepted: int) -> Any:
    """The last hour, once the API has written down that it accepted so many; it does so every few seconds."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = client.get("/events/reconciliation").json()
        if found["total"]["accepted"] >= accepted:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"no {accepted} accepted events: {found}")


def test_accepted_is_stored_plus_duplicates(client: httpx.Client, other_tenant: Tenant) -> None:
    events = [{**EVENT, "event_id": f"e-{number % 8}"} for number in range(10)]
    assert client.post("/events/bulk", json={"events": events}).status_code == 202
    assert client.post("/events", json=EVENT).status_code == 202
    assert client.post("/events", json={**EVENT, "event_name": ""}).status_code == 400

    found = written(client, 11)

    assert found["total"] == {
        "accepted": 11, "replayed": 0, "unconfirmed": 0, "stored": 9, "duplicate": 2, "dead_lettered": 0,
        "missing": 0, "surplus": 0, "billed": 0,
    }  # fmt: skip
    assert sum(minute["stored"] for minute in found["minutes"]) == 9
    assert found["findings"] == []
    assert found["settled_until"] <= found["end_time"]
    with other_tenant.client() as stranger:
        assert stranger.get("/events/reconciliation").json()["minutes"] == []
    yesterday = {"end_time": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
    assert client.get("/events/reconciliation", params=yesterday).json()["minutes"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "2025-01-02T00:00:00Z", "end_time": "2025-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-09T00:00:00Z"}, "start_time"),
    ],
)
def test_bad_input(client: httpx.Client, params: dict[str, str], field: str) -> None:
    answer = client.get("/events/reconciliation", params=params)
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, field)
