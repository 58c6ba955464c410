"""Stored events as they arrive, by asking the API again and again. Owns what has been shown already."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starter.cli.api_client import Api

LOOK_SECONDS: Final = 1.0
AHEAD: Final = timedelta(hours=24)
"""Events may carry a time so far ahead."""

PAGES: Final = 20
"""Of 50 events, at one look: what is older than that is not shown, so that a flood cannot hold the newest back."""

REMEMBERED: Final = 10_000


def follow(api: Api, customer: str | None, name: str | None, minutes: int, once: bool) -> Iterator[dict[str, Any]]:
    """Events with a timestamp of the last `minutes` or later, oldest first, then what is stored from now on."""
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    asked = {"external_customer_id": customer, "event_name": name, "start_time": since.isoformat()}
    shown: dict[tuple[str, str], None] = {}
    while True:
        yield from reversed(_unseen(api, asked, shown))
        if once:
            return
        time.sleep(LOOK_SECONDS)


def _unseen(api: Api, asked: dict[str, Any], shown: dict[tuple[str, str], None]) -> list[dict[str, Any]]:
    """Newest first; each is remembered as shown."""
    found: list[dict[str, Any]] = []
    key: str | None = None
    for _ in range(PAGES):
        end = (datetime.now(UTC) + AHEAD).isoformat()
        page = api.post("events/query", {**asked, "end_time": end, "iter_last_key": key})
        new = [event for event in page["events"] if (event["external_customer_id"], event["id"]) not in shown]
        shown.update(((event["external_customer_id"], event["id"]), None) for event in new)
        found += new
        key = page.get("iter_last_key")
        if key is None:
            break
    for old in list(shown)[: max(len(shown) - REMEMBERED, 0)]:
        del shown[old]
    return found
