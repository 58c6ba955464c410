-- Events are kept for 37 months after they happened or were stored, whichever is later: customers on test clocks live in
-- other years. A deleted revision outlives what it hides. `models.clickhouse.retention` changes the number of months.
ALTER TABLE {database}.events
MODIFY TTL toDateTime(greatest(least(timestamp, toDateTime64('2060-01-01 00:00:00', 3, 'UTC')), stored_at))
    + toIntervalMonth(37 + 12 * is_deleted)
