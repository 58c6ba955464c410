-- Up to where cells are complete: those of `series` from `start` (of a month, or of a billing period) to `horizon` hold
-- every row that came with an insert up to `block`. Days (level 1) and periods (2) are sealed for all customers, with an
-- empty customer; hours (0) for large ones. A row is written after its cells. `events_table` is the table's identity: block numbers of another one mean nothing.
CREATE TABLE IF NOT EXISTS {database}.usage_seals
(
    tenant_id LowCardinality(String),
    environment_id LowCardinality(String),
    external_customer_id String,
    series UInt128,
    level UInt8,
    start DateTime('UTC'),
    events_table UUID,
    horizon DateTime('UTC'),
    block UInt64
)
ENGINE = ReplacingMergeTree(block)
ORDER BY (tenant_id, environment_id, start, level, external_customer_id, series, events_table)
SETTINGS index_granularity = 512
