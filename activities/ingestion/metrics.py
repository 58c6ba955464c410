"""Counts of the path of usage, shown at `/metrics` of the process that counts them."""

from prometheus_client import Counter, Gauge

ACCEPTED = Counter("durabill_events_accepted", "Events answered 202.")
REFUSED = Counter("durabill_events_refused", "Requests for ingestion that were not accepted, by status.", ["status"])
STORED = Counter("durabill_events_stored", "Events stored in ClickHouse.")
DUPLICATES = Counter("durabill_events_duplicates", "Events whose identity was stored before.")
DEAD_LETTERS = Counter("durabill_events_dead_lettered", "Events sent to the dead letters.")
LAG = Gauge("durabill_events_lag_seconds", "How old the newest stored record was when it had been stored.")
OLDEST = Gauge("durabill_events_oldest_unstored_seconds", "Age of the oldest record that is read and not yet stored.")
BEHIND = Gauge("durabill_events_records_behind", "Records in the consumer's partitions that it has not read.")
UNREAD = Counter(
    "durabill_events_records_deleted_unread",
    "Records that the broker deleted before a consumer had read them: its retention is shorter than an outage was.",
)
