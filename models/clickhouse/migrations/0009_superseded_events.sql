-- What an event said before each of its corrections, so that usage can be read as it was known at an earlier instant.
-- `superseded_at` is business time; `revision` is that of the row as it was. A repeated row says the same.
CREATE TABLE IF NOT EXISTS {database}.superseded_events
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    external_customer_id String,
    event_name LowCardinality(String),
    timestamp DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    event_id String CODEC(ZSTD(1)),
    source LowCardinality(String),
    properties String CODEC(ZSTD(1)),
    kafka_partition UInt16,
    kafka_offset UInt64 CODEC(Delta, ZSTD(1)),
    accepted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    revision UInt32,
    superseded_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant_id, environment_id, external_customer_id, event_id, revision)
TTL toDateTime(greatest(least(timestamp, toDateTime64('2060-01-01 00:00:00', 3, 'UTC')), stored_at))
    + toIntervalMonth(37)
SETTINGS index_granularity = 1024
