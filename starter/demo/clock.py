"""The test clock of the story: found or made, advanced, waited for."""

from datetime import datetime

from starter.demo.api import Api, DemoError, Json, wait_for
from starter.demo.story import CLOCK_NAME, CLOCK_START

CATCH_UP_SECONDS = 300
"""How long all customers of the clock may take to live through one step."""


class Clock:
    """A test clock as the API knows it. `now` is its frozen time, in UTC."""

    def __init__(self, api: Api) -> None:
        self._api = api
        body: Json = {"name": CLOCK_NAME, "frozen_time": CLOCK_START.isoformat()}
        self.id: str = api.ensure("/test_clocks", "name", body)["id"]
        self.now = self.wait_until_ready()

    def wait_until_ready(self) -> datetime:
        """The frozen time, once every customer of the clock has caught up with it."""
        clock = wait_for(
            f"test clock {self.id}, which catches up (the Temporal UI shows what each workflow waits for)",
            self._ready,
            CATCH_UP_SECONDS,
        )
        return datetime.fromisoformat(clock["frozen_time"])

    def advance(self, to: datetime) -> None:
        """Moves the clock and waits until everything that was due has happened."""
        self._api.post(f"/test_clocks/{self.id}/advance", {"frozen_time": to.isoformat()})
        self.now = self.wait_until_ready()
        if self.now != to:
            raise DemoError(f"test clock {self.id} stands at {self.now.isoformat()}, expected {to.isoformat()}")

    def _ready(self) -> Json | None:
        clock = self._api.get(f"/test_clocks/{self.id}")
        if clock["status"] not in ("ready", "advancing"):
            raise DemoError(f"test clock {self.id} is {clock['status']}, expected ready or advancing")
        return clock if clock["status"] == "ready" else None
