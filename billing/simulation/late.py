"""Usage that comes after its invoice was finalized: refused while billing has no rule for the correction.

Owns the search for such events. Rules: billing-rules.md section 7.
"""

from datetime import datetime, timedelta

from billing.meters import Meter
from billing.periods import Period
from billing.scenario.document import SettingsPart
from billing.scenario.offered import not_offered
from billing.simulation.events import EventLog
from billing.usage_aggregation import matches


def require_no_late_usage(
    log: EventLog, meter: Meter, period: Period, finalized_at: datetime, settings: SettingsPart
) -> None:
    """Raises NotOffered when an event of the period comes, or is changed, after it was frozen and would be billed."""
    if settings.late_usage == "ignore":
        return
    look_back = period.end + timedelta(days=settings.late_usage_days)
    for logged in log.named(meter.event_name):
        if not period.contains(logged.original.timestamp):
            continue
        wanted = any(each.event is not None and matches(meter, each.event) for each in logged.revisions)
        for revision in logged.revisions:
            if wanted and finalized_at <= revision.at <= look_back:
                raise not_offered(revision.path, "usage that comes after its invoice is finalized")
