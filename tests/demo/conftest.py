"""Shared by the demo's tests: polling without pauses."""

import pytest

from starter.demo import api


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth waiting for: the fake API answers at once."""
    monkeypatch.setattr(api, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(api, "_seconds_to_wait", lambda _: 0)
