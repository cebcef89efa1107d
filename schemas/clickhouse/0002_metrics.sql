-- Fired windows: one row for each window, its highest revision; a window that was taken back is
-- gone. A value is null where no event had one, or where it was out of range (overflow).
CREATE TABLE IF NOT EXISTS metrics
(
    tenant LowCardinality(String),
    meter LowCardinality(String),
    meter_version Int64,
    `group` String,
    window_ms Int64,
    window_start DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    labels Map(LowCardinality(String), String),
    revision UInt64,
    deleted UInt8,
    partial Bool,
    overflow Bool,
    event_count UInt64,
    values Map(LowCardinality(String), Nullable(Decimal(38, 18))),
    _topic LowCardinality(String),
    _partition Int32,
    _offset Int64 CODEC(DoubleDelta, ZSTD(1)),
    _appended_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(revision, deleted)
PARTITION BY toYYYYMM(window_start)
ORDER BY (tenant, meter, meter_version, `group`, window_ms, window_start)
TTL toDateTime(_appended_at) + toIntervalDay(730)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Fired windows, the latest revision of each; read with final = 1';
