-- Where a session ends (null: at window_start + window_ms), and the sketches that a window's
-- quantiles and distinct counts were read from, by the name of the first aggregate of each.
-- docs/meters.md merges them over windows.
ALTER TABLE metrics
    ADD COLUMN IF NOT EXISTS window_end Nullable(DateTime64(6, 'UTC')) AFTER window_start,
    ADD COLUMN IF NOT EXISTS sketches Map(LowCardinality(String), String) CODEC(ZSTD(1)) AFTER values;
