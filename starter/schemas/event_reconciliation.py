"""The counts of accepted events on the wire (ours: the reference has none)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from activities.event_reconciliation import Reconciliation
from billing.errors import Invalid
from models.clickhouse.event_counts import MinuteCounts, last_whole_minute, totals
from starter.schemas.wire import Answer, Instant, InstantOut, Request

DEFAULT_RANGE = timedelta(hours=1)
LONGEST_RANGE = timedelta(days=7)


class ReconciliationParams(Request):
    """Which minutes; the hour before now where the times are left out. Real time, also for customers on test clocks."""

    start_time: Instant | None = None
    end_time: Instant | None = None

    def span(self, now: datetime) -> tuple[datetime, datetime]:
        """[start, end), cut to whole minutes outwards. Raises Invalid."""
        end = self.end_time or now
        start = self.start_time or end - DEFAULT_RANGE
        if start >= end:
            raise Invalid("end_time must lie after start_time", field="end_time")
        if end - start > LONGEST_RANGE:
            raise Invalid(f"at most {LONGEST_RANGE.days} days at once", field="start_time")
        last = last_whole_minute(end)
        return last_whole_minute(start), last if last == end else last + timedelta(minutes=1)


class CountsAnswer(Answer):
    """accepted + replayed = stored + duplicate + dead_lettered, unless `missing` or `surplus` says otherwise.

    `unconfirmed` were answered 503 and may have come through. `billed` are those that a final invoice has counted; one
    that was stored only in the next minute may stand there.
    """

    accepted: int
    replayed: int
    unconfirmed: int
    stored: int
    duplicate: int
    dead_lettered: int
    missing: int
    surplus: int
    billed: int


class MinuteAnswer(CountsAnswer):
    """The minute in which the log received the events."""

    minute: InstantOut
    settled: bool

    @classmethod
    def of(cls, counts: MinuteCounts, settled_until: datetime, billed: int) -> "MinuteAnswer":
        """The minute on the wire; what is still on its way is not missing."""
        settled = counts.minute < settled_until
        return cls(minute=counts.minute, settled=settled, **_numbers([counts], [counts] if settled else [], billed))


class ReconciliationAnswer(Answer):
    """Minutes in which something was counted, their sums, and the settled ones that do not add up."""

    start_time: InstantOut
    end_time: InstantOut
    settled_until: InstantOut
    total: CountsAnswer
    minutes: list[MinuteAnswer]
    findings: list[MinuteAnswer]

    @classmethod
    def of(cls, found: Reconciliation, start: datetime, end: datetime) -> "ReconciliationAnswer":
        """The reconciliation on the wire."""
        judged = [each for each in found.minutes if each.minute < found.settled_until]

        def answer(each: MinuteCounts) -> MinuteAnswer:
            return MinuteAnswer.of(each, found.settled_until, found.billed.get(each.minute, 0))

        return cls(
            start_time=start,
            end_time=end,
            settled_until=found.settled_until,
            total=CountsAnswer(**_numbers(found.minutes, judged, sum(found.billed.values()))),
            minutes=[answer(each) for each in found.minutes],
            findings=[answer(each) for each in found.findings],
        )


def _numbers(counted: Sequence[MinuteCounts], judged: Sequence[MinuteCounts], billed: int) -> dict[str, int]:
    sums, verdict = totals(counted), totals(judged)
    same = {name: sums[name] for name in ("accepted", "replayed", "unconfirmed", "stored", "dead_lettered")}
    return {
        **same,
        "duplicate": sums["duplicates"],
        "missing": verdict["missing"],
        "surplus": verdict["surplus"],
        "billed": billed,
    }
