//! What an operator can set of the sink.

use std::time::Duration;

use runtime::clickhouse::ClickHouseConfig;
use runtime::config::{Environment, Key, Settings};
use runtime::control::ControlConfig;
use runtime::kafka::KafkaConfig;

use super::table::Table;

const INTERVAL: Key = Key {
    name: "PULSE_CLICKHOUSE_INTERVAL_MS",
    default: Some("800"),
    doc: "How long rows gather at most before they are inserted, while rows keep coming.",
};
const BATCH_ROWS: Key = Key {
    name: "PULSE_CLICKHOUSE_BATCH_ROWS",
    default: Some("200000"),
    doc: "How many rows gather at most before they are inserted.",
};
const BATCH_BYTES: Key = Key {
    name: "PULSE_CLICKHOUSE_BATCH_BYTES",
    default: Some("67108864"),
    doc: "How many bytes of rows gather at most before they are inserted; memory is a few times that.",
};
const TIMEOUT: Key = Key {
    name: "PULSE_CLICKHOUSE_TIMEOUT_MS",
    default: Some("30000"),
    doc: "How long ClickHouse may take over one statement before it is sent again.",
};
const EVENTS_DAYS: Key = Key {
    name: "PULSE_CLICKHOUSE_EVENTS_DAYS",
    default: Some("90"),
    doc: "How many days rows of `events` stay, from their append to the log.",
};
const METRICS_DAYS: Key = Key {
    name: "PULSE_CLICKHOUSE_METRICS_DAYS",
    default: Some("730"),
    doc: "How many days rows of `metrics` stay, from their append to the log.",
};
const LATE_DAYS: Key = Key {
    name: "PULSE_CLICKHOUSE_LATE_DAYS",
    default: Some("90"),
    doc: "How many days rows of `late` stay, from their append to the log.",
};
const DEAD_LETTERS_DAYS: Key = Key {
    name: "PULSE_CLICKHOUSE_DEAD_LETTERS_DAYS",
    default: Some("90"),
    doc: "How many days rows of `dead_letters` stay, from their append to the log.",
};

/// All of this part's keys.
pub const KEYS: &[Key] = &[
    INTERVAL,
    BATCH_ROWS,
    BATCH_BYTES,
    TIMEOUT,
    EVENTS_DAYS,
    METRICS_DAYS,
    LATE_DAYS,
    DEAD_LETTERS_DAYS,
];

/// All settings of `pulse-clickhouse`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log is.
    pub kafka: KafkaConfig,
    /// Where the tables are.
    pub clickhouse: ClickHouseConfig,
    /// What checks control records.
    pub control: ControlConfig,
    /// How rows are gathered and inserted.
    pub sink: SinkConfig,
}

/// How rows are gathered and inserted.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// How long rows gather at most, while rows keep coming.
    pub interval: Duration,
    /// How many rows gather at most.
    pub batch_row_count_max: usize,
    /// How many bytes of rows gather at most.
    pub batch_bytes_max: usize,
    /// How long one statement may take.
    pub timeout: Duration,
    /// How long rows stay.
    pub retention: Retention,
}

/// How many days each table keeps its rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Rows of `events`.
    pub events_days: u32,
    /// Rows of `metrics`.
    pub metrics_days: u32,
    /// Rows of `late`.
    pub late_days: u32,
    /// Rows of `dead_letters`.
    pub dead_letters_days: u32,
}

impl Retention {
    /// What holds when nothing is set.
    pub const fn default_days() -> Self {
        Self {
            events_days: 90,
            metrics_days: 730,
            late_days: 90,
            dead_letters_days: 90,
        }
    }

    /// The days of a table.
    pub const fn days(&self, table: Table) -> u32 {
        match table {
            Table::Events => self.events_days,
            Table::Metrics => self.metrics_days,
            Table::Late => self.late_days,
            Table::DeadLetters => self.dead_letters_days,
        }
    }
}

impl Settings for Config {
    fn read(env: &mut Environment) -> Option<Self> {
        let kafka = KafkaConfig::read(env);
        let clickhouse = ClickHouseConfig::read(env);
        let control = ControlConfig::read(env);
        let sink = SinkConfig::read(env);
        Some(Self {
            kafka: kafka?,
            clickhouse: clickhouse?,
            control: control?,
            sink: sink?,
        })
    }
}

impl Settings for SinkConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let interval_ms = env.number(&INTERVAL, 50..=60_000);
        // Below `max_insert_block_size`, so that an insert is one block and its token is one too.
        let batch_row_count_max = env.number(&BATCH_ROWS, 1..=1_000_000);
        let batch_bytes_max = env.number(&BATCH_BYTES, 65_536..=268_435_456);
        let timeout_ms = env.number(&TIMEOUT, 1_000..=600_000);
        let retention = read_retention(env);
        Some(Self {
            interval: Duration::from_millis(interval_ms?),
            batch_row_count_max: batch_row_count_max?,
            batch_bytes_max: batch_bytes_max?,
            timeout: Duration::from_millis(timeout_ms?),
            retention: retention?,
        })
    }
}

fn read_retention(env: &mut Environment) -> Option<Retention> {
    let mut days = |key| env.number(key, 1..=36_500);
    let (events_days, metrics_days) = (days(&EVENTS_DAYS), days(&METRICS_DAYS));
    let (late_days, dead_letters_days) = (days(&LATE_DAYS), days(&DEAD_LETTERS_DAYS));
    Some(Retention {
        events_days: events_days?,
        metrics_days: metrics_days?,
        late_days: late_days?,
        dead_letters_days: dead_letters_days?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<SinkConfig, runtime::config::ConfigError> {
        let mut env = Environment::of(pairs.iter().copied());
        let config = SinkConfig::read(&mut env);
        env.finish(config)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = read(&[]).unwrap();
        assert_eq!(config.retention, Retention::default_days());
        assert_eq!(config.interval, Duration::from_millis(800));
    }

    #[test]
    fn all_faults_show_at_once() {
        let error = read(&[(EVENTS_DAYS.name, "0"), (BATCH_ROWS.name, "many")]).unwrap_err();
        let names: Vec<_> = error.faults.iter().map(|fault| fault.name).collect();
        assert_eq!(names, [BATCH_ROWS.name, EVENTS_DAYS.name]);
    }
}
