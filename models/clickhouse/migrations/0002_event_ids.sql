-- The 128-bit identity of every event ever stored, as two words. No TTL: identity outlives retention.
-- Small blocks, because the sink looks single keys up.
CREATE TABLE IF NOT EXISTS {database}.event_ids
(
    hi UInt64 CODEC(NONE),
    lo UInt64 CODEC(NONE)
)
ENGINE = MergeTree
ORDER BY hi
SETTINGS index_granularity = 512, min_compress_block_size = 4096, max_compress_block_size = 4096
