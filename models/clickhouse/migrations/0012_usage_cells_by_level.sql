-- What a series (the events and the value that a meter measures) came to for one customer: in the hour (level 0) or day
-- (1) of UTC that starts at `span`, or from a billing period's start `span` to `until` (2). It holds every row that came
-- with an insert up to `block`. A newer cell replaces an older one. Exact states, no finished results: `value` is a sum,
-- a largest, smallest or latest value; `moment` a sum of value x microsecond. Cells of one level are stored together.
CREATE TABLE IF NOT EXISTS {database}.usage_cells
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    level UInt8,
    external_customer_id String,
    series UInt128 CODEC(ZSTD(1)),
    span DateTime('UTC') CODEC(Delta, ZSTD(1)),
    until DateTime('UTC'),
    fold UInt8,
    events UInt64 CODEC(T64, ZSTD(1)),
    rejected UInt64 CODEC(T64, ZSTD(1)),
    checksum UInt128 CODEC(NONE),
    value Decimal(76, 13) CODEC(ZSTD(1)),
    moment Decimal(76, 13) CODEC(ZSTD(1)),
    uniques AggregateFunction(uniqExactIf, Nullable(String), UInt8),
    block UInt64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(block)
PARTITION BY toYYYYMM(span)
ORDER BY (tenant_id, environment_id, level, external_customer_id, series, span, until)
SETTINGS index_granularity = 1024
