-- Events as they came, one row for each identity (event_type, subject, occurred_at, event_id).
-- Of rows with one identity the first of the log counts, as in the metrics step: the higher
-- version is the lower offset. An absent text is empty; an absent sequence is null.
CREATE TABLE IF NOT EXISTS events
(
    tenant LowCardinality(String),
    event_type LowCardinality(String),
    subject String,
    occurred_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    event_id String,
    name LowCardinality(String),
    received_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    severity Enum8('debug' = 0, 'info' = 1, 'warning' = 2, 'error' = 3, 'critical' = 4),
    service LowCardinality(String),
    host LowCardinality(String),
    method LowCardinality(String),
    endpoint LowCardinality(String),
    version LowCardinality(String),
    sequence Nullable(Int64),
    title String,
    trace_id String,
    user_id String,
    tags Map(LowCardinality(String), String),
    metrics Map(LowCardinality(String), Decimal(38, 18)),
    payload String CODEC(ZSTD(1)),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64 CODEC(DoubleDelta, ZSTD(1)),
    _appended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    _version UInt64 MATERIALIZED bitNot(toUInt64(_offset)) CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(_version)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (tenant, event_type, subject, occurred_at, event_id)
TTL toDateTime(_appended_at) + toIntervalDay(90)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Events as they came; read with final = 1';
