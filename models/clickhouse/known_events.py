"""Events as they were known before an instant of business time: the FROM clause of usage that is read anew.

Owns what was known when. An event counts if it was accepted before the instant, as it was before its first correction
at or after that instant (`superseded_events`). Rule: billing-rules.md section 7.
"""

from collections.abc import Sequence
from typing import Final

ALL_KNOWN: Final = "FROM events FINAL"
"""Everything that is known now."""
_COLUMNS: Final = (
    "external_customer_id, event_name, timestamp, accepted_at, kafka_offset, event_id, source, properties, revision"
)
_KNOWN: Final = "fromUnixTimestamp64Milli({known_before:Int64}, 'UTC')"


def known_events(own: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The lines of the clause. `own` are conditions on whose events, `wanted` on which of them, of any revision.

    The parameter `known_before` (Unix milliseconds) is the instant.
    """
    whose, which = " AND ".join(own), " AND ".join(wanted)
    changed_later = f"FROM superseded_events WHERE {whose} AND superseded_at >= {_KNOWN}"
    return [
        "FROM (",
        f"    SELECT {_COLUMNS} FROM events FINAL",
        f"    WHERE {whose} AND {which} AND accepted_at < {_KNOWN}",
        f"      AND (external_customer_id, event_id) NOT IN (SELECT external_customer_id, event_id {changed_later})",
        "    UNION ALL",
        f"    SELECT {_COLUMNS} FROM (",
        f"      SELECT {_COLUMNS} {changed_later}",
        "      ORDER BY external_customer_id, event_id, revision LIMIT 1 BY external_customer_id, event_id",
        f"    ) WHERE {which} AND accepted_at < {_KNOWN}",
        "  )",
    ]
