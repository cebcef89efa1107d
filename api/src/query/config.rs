//! What questions may cost.

use std::time::Duration;

use runtime::config::{Environment, Key, Settings};

const TIME_MAX_MS: Key = Key {
    name: "PULSE_QUERY_TIME_MAX_MS",
    default: Some("10000"),
    doc: "How long one question to ClickHouse may take, in milliseconds; a search stops there with what it has.",
};
const MEMORY_MAX_BYTES: Key = Key {
    name: "PULSE_QUERY_MEMORY_MAX_BYTES",
    default: Some("1073741824"),
    doc: "Memory that ClickHouse may use for one question.",
};
const ROWS_READ_MAX: Key = Key {
    name: "PULSE_QUERY_ROWS_READ_MAX",
    default: Some("1000000000"),
    doc: "Rows that ClickHouse may read for one question.",
};
const TENANT_CONCURRENT_MAX: Key = Key {
    name: "PULSE_QUERY_TENANT_CONCURRENT_MAX",
    default: Some("8"),
    doc: "Questions of one tenant at the same time; a further one waits a second, and is answered 429 then.",
};
const CONCURRENT_MAX: Key = Key {
    name: "PULSE_QUERY_CONCURRENT_MAX",
    default: Some("32"),
    doc: "Questions of all tenants at the same time; a further one waits a second, and is answered 503 then.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[
    TIME_MAX_MS,
    MEMORY_MAX_BYTES,
    ROWS_READ_MAX,
    TENANT_CONCURRENT_MAX,
    CONCURRENT_MAX,
];

/// What questions may cost.
#[derive(Clone, Copy, Debug)]
pub struct QueryConfig {
    /// How long one may take.
    pub time_max: Duration,
    /// Memory that the server may use for one, in bytes.
    pub memory_max_bytes: u64,
    /// Rows that the server may read for one.
    pub rows_read_max: u64,
    /// How many of one tenant there may be at the same time.
    pub tenant_concurrent_max: usize,
    /// How many there may be at the same time.
    pub concurrent_max: usize,
}

impl Settings for QueryConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let time_max_ms = env.number(&TIME_MAX_MS, 100..=600_000);
        let memory_max_bytes = env.number(&MEMORY_MAX_BYTES, 16_777_216..=u64::MAX);
        let rows_read_max = env.number(&ROWS_READ_MAX, 1..=u64::MAX);
        let tenant_concurrent_max = env.number(&TENANT_CONCURRENT_MAX, 1..=10_000);
        let concurrent_max = env.number(&CONCURRENT_MAX, 1..=10_000);
        Some(Self {
            time_max: Duration::from_millis(time_max_ms?),
            memory_max_bytes: memory_max_bytes?,
            rows_read_max: rows_read_max?,
            tenant_concurrent_max: tenant_concurrent_max?,
            concurrent_max: concurrent_max?,
        })
    }
}

impl Default for QueryConfig {
    /// The keys' own defaults.
    fn default() -> Self {
        let mut env = Environment::of::<String, String>([]);
        let config = Self::read(&mut env);
        env.finish(config).expect("the defaults can be used")
    }
}
