-- What a question for the newest rows skips: granules whose newest row is older. It is asked where
-- rows are read as they were inserted, so it needs nothing of `FINAL`. Parts from before get theirs
-- with their next merge.
ALTER TABLE events
    ADD INDEX IF NOT EXISTS by_appended_at _appended_at TYPE minmax GRANULARITY 1;
