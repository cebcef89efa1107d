//! The servers: do they answer, which are they, do their clocks agree with ours.

use std::time::Duration;

use connectors::coinbase::CoinbaseConfig;
use runtime::clock;
use runtime::config::Settings;
use runtime::kafka::probe::Probe;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition, Reader, Start};
use schemas::ids::{Stream, Topic};

use super::Finding;
use super::machine::OWN_SERVERS;
use crate::cli::text;
use crate::installation::Access;
use crate::installation::access::AccessError;
use crate::stack::fetch::KAFKA_VERSION;
use crate::status::clickhouse::{self, ClickHouseAway};
use crate::tenant::guard::{self, Guarded};
use crate::up::reach;

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long records are looked at to compare clocks.
const CLOCK_WATCH: Duration = Duration::from_secs(3);
/// A difference of clocks that processes are told to bear (`PULSE_CLOCK_SKEW_MS`).
const SKEW_MAX_MS: i64 = 200;

/// Kafka: whether it answers, how many replicas a record has, and what its clock says.
pub async fn kafka(access: &Access) -> Vec<Finding> {
    let config = match access.kafka() {
        Ok(config) => config,
        Err(AccessError::Nowhere { .. }) => return vec![not_running("kafka")],
        Err(error) => {
            return vec![Finding::error(
                "kafka",
                error.to_string(),
                "see docs/configuration.md",
            )];
        }
    };
    let is_ours = access.running().is_some_and(|run| {
        run.entry("kafka")
            .is_some_and(|entry| entry.process.is_some())
            && run.brokers.as_deref() == Some(config.brokers.as_str())
    });
    let look = move || look_at_kafka(&config, is_ours);
    tokio::task::spawn_blocking(look)
        .await
        .expect("looking does not panic")
}

/// Whether tenants' own producers are let in where nobody guards the brokers; nothing where that
/// cannot be asked: why not is another finding.
pub async fn guard(access: &Access) -> Option<Finding> {
    const CHECK: &str = "direct producers";
    let (kafka, control) = (access.kafka().ok()?, access.control().ok()?);
    Some(match Guarded::look(&kafka, &control).await {
        Ok(guarded) if guarded.is_sound() => Finding::ok(CHECK, guarded.to_string()),
        Ok(guarded) => Finding::error(CHECK, guarded.to_string(), guard::MEND),
        Err(error) => {
            let found = format!("who may write is not known: {error}");
            Finding::warning(CHECK, found, "see whether Kafka answers")
        }
    })
}

fn look_at_kafka(config: &KafkaConfig, is_ours: bool) -> Vec<Finding> {
    let brokers = &config.brokers;
    let counted = Probe::new(config).and_then(|probe| probe.broker_count(ANSWER_MAX));
    let count = match counted {
        Ok(count) => count,
        Err(failure) => {
            let what = match failure.is_locked_out() {
                true => "does not let us in",
                false => "does not answer",
            };
            let found = format!("{brokers} {what}: {failure}");
            let mend = "see whether it runs and PULSE_KAFKA_… are right; its log says more";
            return vec![Finding::error("kafka", found, mend)];
        }
    };
    let version = match is_ours {
        true => format!("{KAFKA_VERSION}, ours"),
        false => "which version is not told to clients".to_owned(),
    };
    let found = format!("{count} broker(s) at {brokers} ({version})");
    vec![
        Finding::ok("kafka", found),
        replicas(config, is_ours),
        broker_clock(config, is_ours),
    ]
}

fn replicas(config: &KafkaConfig, is_ours: bool) -> Finding {
    let least = config.min_in_sync_replicas;
    let found = format!("{least} must have a record before it counts as written");
    match (least, is_ours) {
        (2.., _) => Finding::ok("in-sync replicas", found),
        (_, true) => Finding::ok("in-sync replicas", format!("{found}: this is one machine")),
        _ => Finding::warning(
            "in-sync replicas",
            format!("{found}: one broker's disk is the only copy"),
            "on a cluster, set PULSE_KAFKA_REPLICATION_FACTOR=3 and \
             PULSE_KAFKA_MIN_IN_SYNC_REPLICAS=2 before topics are made",
        ),
    }
}

/// A record cannot be seen before it was appended: one that seems to come from the future shows how
/// far the broker's clock is ahead, and the youngest of several how far it is behind at most.
fn broker_clock(config: &KafkaConfig, is_ours: bool) -> Finding {
    if is_ours || config.is_loopback() {
        return Finding::ok("broker's clock", "the broker is on this machine");
    }
    match ages(config) {
        Ok(ages) => clock_finding(&ages),
        Err(reason) => {
            let mend = "compare `date` here with the brokers'";
            Finding::warning(
                "broker's clock",
                format!("cannot be compared: {reason}"),
                mend,
            )
        }
    }
}

fn clock_finding(ages_ms: &[i64]) -> Finding {
    let Some(youngest) = ages_ms.iter().min().copied() else {
        return Finding::ok(
            "broker's clock",
            "cannot be compared: no events arrive just now",
        );
    };
    let found = match youngest {
        ..0 => format!("is ahead of ours by {} or more", text::span(-youngest)),
        _ => format!("is behind ours by {} at most", text::span(youngest)),
    };
    match youngest.abs() <= SKEW_MAX_MS {
        true => Finding::ok("broker's clock", found),
        false => Finding::warning(
            "broker's clock",
            found,
            "run NTP on both machines, or set PULSE_CLOCK_SKEW_MS to more than the difference",
        ),
    }
}

/// How old records were when they arrived here, by our clock and the broker's.
fn ages(config: &KafkaConfig) -> Result<Vec<i64>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let admin = Admin::new(config).map_err(|error| words(&error))?;
    let topics = admin.topics(ANSWER_MAX).map_err(|error| words(&error))?;
    let mut partitions = Vec::new();
    for (name, count) in &topics {
        let is_events = name
            .parse::<Topic>()
            .is_ok_and(|topic| topic.stream == Stream::Events);
        if is_events {
            partitions.extend((0..*count).map(|number| Partition::new(name, number)));
        }
    }
    let edges = admin
        .watermarks(&partitions, Isolation::Uncommitted, ANSWER_MAX)
        .map_err(|error| words(&error))?;
    let ends = edges.iter().map(|edges| Start::At(edges.high));
    let spans: Vec<_> = partitions.into_iter().zip(ends).collect();
    let reader = Reader::open(config, "pulse-doctor", Isolation::Uncommitted, &spans)
        .map_err(|error| words(&error))?;
    let deadline = clock::Deadline::after(CLOCK_WATCH);
    let mut ages = Vec::new();
    while !deadline.has_passed() {
        for index in 0..spans.len() {
            let batch = reader.next(index).map_err(|error| words(&error))?;
            let now_ms = clock::now_ms();
            ages.extend(
                batch
                    .records()
                    .map(|record| now_ms - record.appended_at_ms()),
            );
        }
        reader.wait(deadline.left().min(Duration::from_millis(100)));
    }
    Ok(ages)
}

/// ClickHouse: whether it answers, and which it is.
pub async fn clickhouse(access: &Access) -> Finding {
    match clickhouse::version(access).await {
        Ok(version) => Finding::ok("clickhouse", format!("{version} answers")),
        Err(ClickHouseAway::Access(AccessError::Nowhere { .. })) => not_running("clickhouse"),
        Err(error) => Finding::error(
            "clickhouse",
            format!("does not answer: {error}"),
            "see whether it runs and PULSE_CLICKHOUSE_… are right; its log says more",
        ),
    }
}

/// Whether the exchange can be reached; without it the simulator stands in.
pub async fn coinbase(access: &Access) -> Finding {
    let Some(config) = CoinbaseConfig::read(&mut access.exchange_environment()) else {
        let mend = "see docs/configuration.md for PULSE_COINBASE_…";
        return Finding::error("coinbase", "its address cannot be used", mend);
    };
    match reach::coinbase(&config).await {
        Ok(()) => Finding::ok("coinbase", format!("{} answers", config.exchange_url)),
        Err(ended) => Finding::warning(
            "coinbase",
            format!("{} cannot be reached: {ended}", config.exchange_url),
            "nothing to do: `pulse up` streams from the simulator; for live data, let this \
             machine connect there (DNS and port 443)",
        ),
    }
}

fn not_running(check: &'static str) -> Finding {
    let found = format!("does not run; `pulse up` starts one, unless you {OWN_SERVERS}");
    Finding::ok(check, found)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn clocks_are_judged_by_the_youngest_record() {
        assert_eq!(clock_finding(&[]).level, Level::Ok);
        assert_eq!(clock_finding(&[40, 3, 900]).level, Level::Ok);
        let ahead = clock_finding(&[40, -450]);
        assert_eq!(ahead.level, Level::Warning);
        assert!(
            ahead.found.contains("ahead of ours by 450 ms"),
            "{}",
            ahead.found
        );
        assert!(
            clock_finding(&[5_000])
                .found
                .contains("behind ours by 5 s at most")
        );
    }

    #[test]
    fn one_replica_is_a_warning_unless_it_is_a_try_out() {
        let config = KafkaConfig::plaintext("broker:9092");
        assert_eq!(replicas(&config, false).level, Level::Warning);
        assert_eq!(replicas(&config, true).level, Level::Ok);
        let config = KafkaConfig {
            min_in_sync_replicas: 2,
            ..config
        };
        assert_eq!(replicas(&config, false).level, Level::Ok);
    }
}
