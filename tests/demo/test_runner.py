"""The runner asks for the right things, in time, and makes nothing twice, however often it is interrupted."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from starter.demo import story
from starter.demo.api import Api, DemoError
from starter.demo.golden.derivation import CUSTOMERS, GRACE
from starter.demo.runner import Outcome, play
from starter.demo.usage import EVENTS_FILE
from tests.demo.fake_api import FakeApi, PowerCut

MADE_ONCE = {
    "taxes/rates": 1,
    "features": 2,
    "plans": 1,
    "prices": 3,
    "test_clocks": 1,
    "customers": 3,
    "webhooks/endpoints": 1,
    "subscriptions": 3,
}


class Quiet:
    """A watcher that notes where the clock stopped."""

    def __init__(self) -> None:
        self.stops: list[datetime] = []

    def step(self, text: str) -> None:
        assert text

    def clock(self, now: datetime) -> None:
        self.stops.append(now)

    def events(self, posted: int, total: int) -> None:
        assert 0 <= posted <= total


def run(fake: FakeApi, folder: Path, watcher: Quiet | None = None) -> Outcome:
    api = Api("http://demo.test/", "sk_test", transport=httpx.MockTransport(fake))
    try:
        return play(api, folder, watcher or Quiet())
    finally:
        api.close()


def posted(fake: FakeApi) -> list[dict[str, Any]]:
    return [event for _, batch in fake.uploads for event in batch]


def check_usage_was_in_time(fake: FakeApi) -> None:
    """Each event that an invoice counts was posted before that invoice was finalized, none too far ahead."""
    ends = {customer.external_id: customer.boundaries() for customer in CUSTOMERS}
    seen: set[tuple[str, str]] = set()
    for clock, batch in fake.uploads:
        for event in batch:
            at = datetime.fromisoformat(event["timestamp"])
            assert at <= clock + timedelta(hours=24)
            identity = (event["external_customer_id"], event["event_id"])
            if identity in seen:
                continue
            seen.add(identity)
            end = next(end for end in ends[event["external_customer_id"]] if at < end)
            assert clock < end + GRACE, f"{event} is late at {clock}"


def test_the_whole_story(tmp_path: Path) -> None:
    fake, watcher = FakeApi(), Quiet()
    outcome = run(fake, tmp_path, watcher)
    assert outcome.differences == []
    assert len(outcome.invoices) == len(outcome.pdfs) == 37
    assert all(path.read_bytes().startswith(b"%PDF-") for path in outcome.pdfs)
    assert outcome.webhooks == {"invoice.update.finalized": 37}
    assert outcome.webhooks_refused == 0
    assert fake.created == MADE_ONCE
    with gzip.open(EVENTS_FILE, "rt") as file:
        assert posted(fake) == [json.loads(line) for line in file]
    check_usage_was_in_time(fake)
    firsts = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]
    assert {*firsts, story.LAST_MONTH, story.CLOCK_END} <= set(watcher.stops)


def test_a_finished_story_is_only_shown_again(tmp_path: Path) -> None:
    fake = FakeApi()
    first = run(fake, tmp_path)
    uploads = len(fake.uploads)
    second = run(fake, tmp_path)
    assert second.invoices == first.invoices
    assert second.webhooks == first.webhooks
    assert fake.created == MADE_ONCE
    assert len(fake.uploads) == uploads


@pytest.mark.parametrize("requests", [3, 11, 19, 40, 90])
def test_an_interrupted_story_goes_on(requests: int, tmp_path: Path) -> None:
    fake = FakeApi()
    fake.requests_left = requests
    with pytest.raises(PowerCut):
        run(fake, tmp_path)
    fake.requests_left = 10**9
    outcome = run(fake, tmp_path)
    assert outcome.differences == []
    assert fake.created == MADE_ONCE
    check_usage_was_in_time(fake)


def test_a_busy_api_is_asked_again(tmp_path: Path) -> None:
    fake = FakeApi()
    fake.busy_answers = 3
    assert run(fake, tmp_path).differences == []


def test_a_new_endpoint_replaces_one_whose_secret_is_lost(tmp_path: Path) -> None:
    fake = FakeApi()
    run(fake, tmp_path / "first")
    assert not run(fake, tmp_path / "second").webhooks_expected
    assert len(fake.stored["webhooks/endpoints"]) == 1
    assert fake.created["webhooks/endpoints"] == 2


def test_a_customer_on_another_clock_is_refused(tmp_path: Path) -> None:
    fake = FakeApi()
    fake.stored["customers"] = [{"id": "cust_1", "external_id": "kaveri-health", "test_clock_id": None}]
    with pytest.raises(DemoError, match="kaveri-health has test_clock_id None"):
        run(fake, tmp_path)


def test_a_refusal_is_told_in_a_sentence() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"message": "tiers[1].up_to must be above 36000", "details": {}})

    api = Api("http://demo.test", "sk_test", transport=httpx.MockTransport(refuse))
    with pytest.raises(DemoError, match=r"^POST /prices answered 400: tiers\[1\]\.up_to must be above 36000$"):
        api.post("/prices", {})
    api.close()
