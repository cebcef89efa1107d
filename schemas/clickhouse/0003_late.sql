-- Events that came after their subject's stream had moved on; they are in no window.
-- A row's identity is its place in the log; _appended_at is a function of that place, and stands
-- before it in the key so that a stretch of time is a stretch of the table.
CREATE TABLE IF NOT EXISTS late
(
    tenant LowCardinality(String),
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    appended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    event_id String,
    event_type LowCardinality(String),
    subject String,
    occurred_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    limit_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    event String CODEC(ZSTD(1)),
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
COMMENT 'Late events; read with final = 1';
