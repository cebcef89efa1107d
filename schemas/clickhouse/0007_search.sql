-- What a search by trace or by id skips: a granule whose filter does not know the text. They are
-- asked where rows are read as they were inserted, so they need nothing of `FINAL`. Parts from before
-- get theirs with their next merge.
ALTER TABLE events
    ADD INDEX IF NOT EXISTS by_trace_id trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    ADD INDEX IF NOT EXISTS by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1;
