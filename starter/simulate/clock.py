"""The test clock of a story: moved, and waited for until everything due is done."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from billing.codec import instant_text
from starter.cli.api_client import Api
from starter.cli.shared import CliError

POLL_SECONDS: Final = 0.04
POLL_SECONDS_MAX: Final = 0.4
STALLED_SECONDS: Final = 120
"""A clock that has not moved for so long will not arrive: no worker is running, or a workflow is stuck."""


class StoryClock:
    """The clock of one story. `now` is the instant at which it stands."""

    def __init__(self, api: Api, clock_id: str, now: datetime, patience: float = STALLED_SECONDS) -> None:
        """patience: seconds after which a clock that has not moved is given up."""
        self._api, self._id, self.now, self._patience = api, clock_id, now, patience

    def advance(self, to: datetime) -> None:
        """Goes to `to`, if that is later, and waits. Raises CliError for a clock that does not arrive."""
        if to <= self.now:
            return
        body = {"frozen_time": instant_text(to)}
        self._api.post(f"test_clocks/{self._id}/advance", body, idempotency_key=str(uuid4()))
        self._wait()
        self.now = to

    def settle(self, customer_id: str) -> None:
        """Waits until nothing is due any more at the present instant: what an action caused has happened."""
        deadline, pause = time.monotonic() + self._patience, pauses()
        while self._is_due(customer_id):
            if time.monotonic() > deadline:
                raise CliError(
                    f"test clock {self._id}: something is still due at {self.now.isoformat()}; is a worker up?"
                )
            time.sleep(next(pause))

    def _is_due(self, customer_id: str) -> bool:
        items = [*self._api.every("invoices", customer_id=customer_id, skip_line_items=True)]
        items += self._api.every("subscriptions", customer_id=customer_id)
        return any(_at(item) is not None and str(_at(item)) <= instant_text(self.now) for item in items)

    def _wait(self) -> None:
        moved_at, seen, pause = time.monotonic(), "", pauses()
        while True:
            clock = self._api.get(f"test_clocks/{self._id}")
            if clock["status"] == "ready":
                return
            if clock["status"] != "advancing":
                raise CliError(f"test clock {self._id} stopped at {clock['frozen_time']}: {clock.get('problem')}")
            if clock["frozen_time"] != seen:
                moved_at, seen = time.monotonic(), clock["frozen_time"]
            if time.monotonic() - moved_at > self._patience:
                raise CliError(f"test clock {self._id} has stood at {seen} for {self._patience} s: is a worker up?")
            time.sleep(next(pause))


def pauses() -> Iterator[float]:
    """Seconds between two looks at something that is awaited: short at first, longer and longer."""
    pause = POLL_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, POLL_SECONDS_MAX)


def _at(item: dict[str, Any]) -> str | None:
    return item.get("next_action_at")
