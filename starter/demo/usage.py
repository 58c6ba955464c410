"""Posts the shipped events in the order of the file, up to an instant of the test clock.

Owns the position in the file. Posting a part again is harmless: an event id of a customer counts once.
"""

import gzip
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from starter.demo.api import Api

EVENTS_FILE = Path(__file__).resolve().parent / "events.ndjson.gz"
BULK = 1000

LONGEST_STEP = timedelta(days=31)
"""The clock never moves further at once, so whatever is older than this has been posted."""


class Usage:
    """The lines of an events file and how many of them are posted."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._times = [datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines]
        self.posted = 0

    def __len__(self) -> int:
        return len(self._lines)

    @classmethod
    def from_file(cls, path: Path = EVENTS_FILE) -> "Usage":
        """The shipped events."""
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return cls(file.read().splitlines())

    def resume_at(self, clock: datetime) -> None:
        """Takes as posted what an earlier run posted for certain before the clock came here."""
        self.posted = self._through(clock - LONGEST_STEP)

    def post_until(self, api: Api, until: datetime, on_progress: Callable[[int], None]) -> None:
        """Posts all events from before `until` that are not posted yet, a thousand a request, in the file's order."""
        end = self._through(until)
        while self.posted < end:
            batch = self._lines[self.posted : min(end, self.posted + BULK)]
            api.post_text("/events/bulk", '{"events":[' + ",".join(batch) + "]}")
            self.posted += len(batch)
            on_progress(self.posted)

    def _through(self, until: datetime) -> int:
        """How many lines lead up to the last one from before `until`; the file is nearly, not quite, in time order."""
        for index in range(len(self._times), 0, -1):
            if self._times[index - 1] < until:
                return index
        return 0
