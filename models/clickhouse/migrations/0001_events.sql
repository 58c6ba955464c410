-- One row an event and revision. Always read with FINAL: a crash between two steps of the sink repeats identical rows,
-- which the engine collapses. kafka_offset orders receipt; without Kafka it is the number of the block in the one writer.
CREATE TABLE IF NOT EXISTS {database}.events
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
    is_deleted UInt8
)
ENGINE = ReplacingMergeTree(revision, is_deleted)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (tenant_id, environment_id, external_customer_id, event_name, timestamp, event_id)
SETTINGS index_granularity = 1024
