-- Every definition that is or was in force, by its key on the control topic. A deleted one keeps
-- its row: its versions go on where they were, and a tenant's slug is never given again.
CREATE TABLE definitions (
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    -- Microseconds since 1970.
    created_at_us BIGINT NOT NULL,
    changed_at_us BIGINT NOT NULL,
    -- JSON, letter by letter as it is published; null once deleted.
    body TEXT,
    -- The number under which its last change went into the outbox; 0 when it came from the topic.
    outbox_number BIGINT NOT NULL,
    PRIMARY KEY (tenant, kind, id)
);

-- What the topic is not told of keys.
CREATE TABLE key_hints (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    last_four TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- People. They are never on the topic.
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    email TEXT NOT NULL,
    -- A PHC string: argon2id with its parameters and salt.
    password_hash TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    UNIQUE (tenant, email)
);

-- Registrations that were begun and not answered: whoever began one may go on with it.
CREATE TABLE registrations (
    tenant TEXT NOT NULL PRIMARY KEY,
    owner_id TEXT NOT NULL,
    begun_at_us BIGINT NOT NULL
);

-- Changes that are true here and perhaps not on the topic yet, in the order in which they go there.
CREATE TABLE outbox (
    number BIGINT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    changed_at_us BIGINT NOT NULL,
    body TEXT
);

-- Single numbers: the last one of the outbox, and when the topic was taken over.
CREATE TABLE figures (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

INSERT INTO figures (name, value) VALUES ('outbox_number', 0);
