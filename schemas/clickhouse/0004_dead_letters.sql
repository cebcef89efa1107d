-- Records and frames that could not be used, whole, with the reason. A record of metrics, late or
-- dead-letters that the sink itself cannot read is a row here too, under its own place in the log.
CREATE TABLE IF NOT EXISTS dead_letters
(
    tenant LowCardinality(String),
    source LowCardinality(String),
    partition Nullable(Int32),
    offset Nullable(Int64),
    appended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    reason LowCardinality(String),
    detail String,
    replay_count Int32,
    key Nullable(String),
    value Nullable(String) CODEC(ZSTD(1)),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64 CODEC(DoubleDelta, ZSTD(1)),
    _appended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(_appended_at)
ORDER BY (tenant, _appended_at, _topic, _partition, _offset)
TTL toDateTime(_appended_at) + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Dead letters; read with final = 1';
