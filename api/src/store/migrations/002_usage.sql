-- Events of tenants by hour of the log's clock, in milliseconds since 1970. An hour without events
-- has no row.
CREATE TABLE usage_hours (
    tenant TEXT NOT NULL,
    hour_ms BIGINT NOT NULL,
    events BIGINT NOT NULL,
    PRIMARY KEY (tenant, hour_ms)
);

-- Up to where those are counted for good: nothing comes there any more.
CREATE TABLE usage_sealed (
    tenant TEXT NOT NULL PRIMARY KEY,
    to_ms BIGINT NOT NULL
);

-- What tenants were told of their quotas. It is told again under the same words until it is known to
-- be on the tenant's topic.
CREATE TABLE quota_notices (
    tenant TEXT NOT NULL,
    month TEXT NOT NULL,
    percent BIGINT NOT NULL,
    quota BIGINT NOT NULL,
    events BIGINT NOT NULL,
    reached_at_us BIGINT NOT NULL,
    is_published BIGINT NOT NULL,
    PRIMARY KEY (tenant, month, percent, quota)
);
