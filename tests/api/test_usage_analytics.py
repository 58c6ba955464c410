"""POST /v1/events/analytics: usage by feature, source and property, in windows, with its cost."""

from typing import Any

import httpx
import pytest

from tests.api.test_sdk_billing import Story

DAY = {"external_customer_id": "acme", "start_time": "2025-01-01T00:00:00Z", "end_time": "2025-01-02T00:00:00Z"}


@pytest.fixture
def story(sdk: Any, client: httpx.Client) -> Story:
    """acme talked 36,000 s with one model and 4,000 s with another; the meter does not want a third."""
    made = Story(sdk, client)
    events = [
        made.call("e-1", "36000", "2025-01-01T01:00:00Z") | {"source": "web"},
        made.call("e-2", "4000", "2025-01-01T02:15:00Z") | {"source": "app"},
        made.call("e-3", "500", "2025-01-01T02:30:00Z") | {"source": "app"},
    ]
    events[1]["properties"]["model"], events[2]["properties"]["model"] = "sonic-ultra", "nano"
    made.post("/events/bulk", {"events": events}, 202)
    return made


def ask(story: Story, **more: Any) -> Any:
    return story.post("/events/analytics", {**DAY, **more})


def test_a_feature_with_its_cost(story: Story) -> None:
    body = ask(story)
    (item,) = body["items"]
    # 36,000 x 0.0015 = 54; the second tier costs 5 once and 4,000 x 0.0012 = 4.80.
    assert (item["total_usage"], item["event_count"], item["total_cost"], item["currency"]) == (
        "40000",
        2,
        "63.8",
        "usd",
    )
    assert (body["total_cost"], body["currency"]) == ("63.8", "usd")
    assert (item["name"], item["event_name"], item["aggregation_type"]) == ("Call seconds", "voice_call", "SUM")
    assert (item["price_id"], item["subscription_id"]) == (story.talk.id, story.subscription.id)
    usage = story.post("/subscriptions/usage", {"subscription_id": story.subscription.id})
    assert usage["charges"][0]["amount"] == 63.8, "the same as the subscription's usage says"


def test_groups_add_up_to_the_whole(story: Story) -> None:
    by_model = ask(story, group_by=["feature_id", "properties.model"])
    # 63.80 split by 36,000 : 4,000.
    assert [(one["properties"], one["total_usage"], one["total_cost"]) for one in by_model["items"]] == [
        ({"model": "sonic-large"}, "36000", "57.42"),
        ({"model": "sonic-ultra"}, "4000", "6.38"),
    ]
    assert by_model["total_cost"] == "63.8"
    by_both = ask(story, group_by=["source", "properties.model", "properties.absent"])["items"]
    assert [(one["source"], one["properties"]) for one in by_both] == [
        ("app", {"model": "sonic-ultra", "absent": ""}),
        ("web", {"model": "sonic-large", "absent": ""}),
    ]


def test_windows_and_filters(story: Story) -> None:
    (item,) = ask(story, window_size="HOUR")["items"]
    # 63.80 split by 36,000 : 4,000
    assert item["points"] == [
        {"timestamp": "2025-01-01T01:00:00Z", "usage": "36000", "event_count": 1, "cost": "57.42"},
        {"timestamp": "2025-01-01T02:00:00Z", "usage": "4000", "event_count": 1, "cost": "6.38"},
    ]
    for narrowed in ({"sources": ["app"]}, {"property_filters": {"model": ["sonic-ultra", "nano"]}}):
        (item,) = ask(story, **narrowed)["items"]
        assert (item["total_usage"], item["total_cost"]) == ("4000", "6")  # 4,000 x 0.0015
    (nothing,) = ask(story, start_time="2024-12-01T00:00:00Z", end_time="2025-01-01T00:00:00Z")["items"]
    assert (nothing["total_usage"], nothing["event_count"], "total_cost" in nothing) == ("0", 0, False)
    stranger = ask(story, external_customer_id="nobody")
    assert (stranger["items"][0]["total_usage"], stranger["total_cost"]) == ("0", "0")


def test_the_official_sdk_understands_it(story: Story) -> None:
    answer = story.sdk.events.get_usage_analytics(**DAY, group_by=["source"], window_size="DAY")
    assert answer.total_cost == "63.8"
    assert [(item.source, item.total_usage) for item in answer.items] == [("app", "4000"), ("web", "36000")]
    assert [point.usage for point in answer.items[0].points] == ["4000"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"external_customer_id": None}, "external_customer_id"),
        ({"group_by": ["customer"]}, "group_by"),
        ({"group_by": ["properties."]}, "group_by"),
        ({"feature_ids": ["feat_unknown"]}, "feature_ids"),
        ({"window_size": "YEAR"}, "window_size"),
        ({"include_children": True}, "include_children"),
        ({"end_time": "2024-01-01T00:00:00Z"}, "end_time"),
    ],
)
def test_bad_input(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/events/analytics", json={**DAY, **body})
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, field), answer.text
