-- What became of accepted events, by the minute in which the log received them. A row belongs to one record of the log
-- (`source` is its topic) or to one process (`source` is 'api', `place` its number); a repeated row says the same, and
-- the larger numbers win.
CREATE TABLE IF NOT EXISTS {database}.event_counts
(
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    source LowCardinality(String),
    partition UInt16,
    place UInt64 CODEC(Delta, ZSTD(1)),
    accepted SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1)),
    unconfirmed SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1)),
    replayed SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1)),
    events SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1)),
    stored SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1)),
    dead_lettered SimpleAggregateFunction(max, UInt64) CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant_id, environment_id, minute, source, partition, place)
TTL minute + INTERVAL 100 DAY
