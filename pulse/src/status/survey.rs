//! Asks every process how it is, and the brokers how far everybody is.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::clock;
use schemas::ids::Stream;
use serde::Deserialize;

use super::clickhouse;
use super::drained::{self, Observation};
use super::exposition::Samples;
use super::http;
use super::lag::{Gauge, Lags, groups};
use super::report::{Condition, Pipeline, ProcessStatus, Status};
use crate::cli::text;
use crate::installation::{Access, Entry, EntryState, RunFile};

/// How long rates are measured.
const RATE_SPAN: Duration = Duration::from_millis(1_000);
/// The process whose figures are the pipeline's.
const METRICS: &str = "pulse-metrics";
const CONNECTOR: &str = "pulse-coinbase";
const SIMULATOR: &str = "simulator";

/// Two looks at an installation, some time apart, and what each process said in between.
pub struct Survey {
    looks: Option<(Lags, Lags)>,
    /// Why the brokers did not answer.
    trouble: Option<String>,
    span: Duration,
    answers: BTreeMap<String, Answer>,
}

/// What a process said of itself.
#[derive(Clone, Debug)]
struct Answer {
    condition: Condition,
    reason: Option<String>,
    samples: Samples,
}

/// The body of `/health/ready`.
#[derive(Deserialize)]
struct Report {
    ready: bool,
    checks: BTreeMap<String, Check>,
}

/// The body of the simulator's `/status`, as far as it matters here.
#[derive(Deserialize)]
struct Served {
    finished: bool,
    frame_count: u64,
}

#[derive(Deserialize)]
struct Check {
    state: String,
    #[serde(default)]
    reason: Option<String>,
    since_ms: i64,
}

impl Survey {
    /// Asks everybody; takes a little more than a second.
    pub async fn take(access: &Access, run: &RunFile) -> Self {
        let gauge = access
            .kafka()
            .map_err(|error| error.to_string())
            .and_then(|kafka| {
                let groups = groups(&mut access.environment());
                Gauge::new(&kafka, groups).map_err(|error| error.to_string())
            });
        let began = clock::monotonic();
        let first = look(&gauge).await;
        let answers = ask_all(run, access).await;
        tokio::time::sleep(RATE_SPAN.saturating_sub(began.elapsed())).await;
        let span = began.elapsed();
        let second = look(&gauge).await;
        let trouble = first.as_ref().err().or(second.as_ref().err()).cloned();
        let looks = first.ok().zip(second.ok());
        Self {
            looks,
            trouble,
            span,
            answers,
        }
    }

    /// What it comes to.
    pub fn status(&self, folder: &str, run: &RunFile) -> Status {
        let processes: Vec<_> = run
            .processes
            .iter()
            .map(|entry| self.process(entry))
            .collect();
        let pipeline = self.pipeline();
        let unwell = processes.iter().filter(|process| !process.health.is_well());
        let missing = drained::missing(&Observation {
            feed: run.feed.as_ref(),
            is_served: self.is_served(),
            unwell: unwell.map(|process| process.name.as_str()).collect(),
            looks: self.looks.as_ref().map(|(first, second)| (first, second)),
            open_short_windows: pipeline.open_short_windows,
        });
        let lags = self.looks.as_ref().map(|(_, second)| second);
        Status {
            data: folder.to_owned(),
            state: run.state,
            began_at_ms: run.began_at_ms,
            tenant: run.tenant.clone(),
            feed: run.feed.clone(),
            healthy: processes.iter().all(|process| process.health.is_well()),
            lag: lags.map(Lags::total),
            groups: lags.map(|lags| lags.groups.clone()),
            pipeline,
            drained: missing.is_empty(),
            not_drained_because: missing,
            processes,
        }
    }

    fn process(&self, entry: &Entry) -> ProcessStatus {
        let (health, reason) = self.condition(entry);
        let lags = self.looks.as_ref().map(|(_, second)| second);
        let group = lags.and_then(|lags| lags.of_process(&entry.name));
        ProcessStatus {
            name: entry.name.clone(),
            pid: entry
                .process
                .filter(|process| process.is_alive())
                .map(|process| process.pid),
            address: entry.address.clone(),
            health,
            reason,
            restart_count: entry.restart_count,
            events_per_second: self.rate_of(&entry.name),
            lag: group.map(|group| group.lag),
            log: entry.log.as_ref().map(|log| log.display().to_string()),
        }
    }

    fn condition(&self, entry: &Entry) -> (Condition, Option<String>) {
        let is_gone = entry.process.is_none_or(|process| !process.is_alive());
        let condition = match entry.state {
            EntryState::Failed | EntryState::Stopped => Condition::Down,
            EntryState::Restarting => Condition::Restarting,
            // It has died, and whoever watches it has not seen it yet, or is gone as well.
            EntryState::Starting | EntryState::Running if is_gone => Condition::Down,
            EntryState::Starting | EntryState::Running | EntryState::External => {
                return self.answered(entry);
            }
        };
        (condition, entry.reason.clone())
    }

    fn answered(&self, entry: &Entry) -> (Condition, Option<String>) {
        match self.answers.get(&entry.name) {
            Some(answer) if answer.condition == Condition::Down => {
                // Just started: its port is not open yet.
                let is_young = entry.state == EntryState::Starting;
                let condition = if is_young {
                    Condition::Starting
                } else {
                    Condition::NotReady
                };
                (condition, answer.reason.clone())
            }
            Some(answer) => (answer.condition, answer.reason.clone()),
            None => match &self.trouble {
                Some(trouble) => (Condition::NotReady, Some(trouble.clone())),
                None => (Condition::Ready, None),
            },
        }
    }

    /// Events per second that a process took in: by the ends of topics, and by positions.
    fn rate_of(&self, process: &str) -> Option<f64> {
        let (first, second) = self.looks.as_ref()?;
        let grown = match process {
            "pulse-coinbase" => second.end(None, Stream::Events) - first.end(None, Stream::Events),
            process => {
                second.of_process(process)?.position() - first.of_process(process)?.position()
            }
        };
        Some(per_second(grown, self.span))
    }

    fn pipeline(&self) -> Pipeline {
        let samples = self.answers.get(METRICS).map(|answer| &answer.samples);
        Pipeline::read(samples, self.rate_of(CONNECTOR))
    }

    /// The simulator has served its file, and the connector has handed all of it on.
    fn is_served(&self) -> bool {
        let condition = |name| {
            self.answers
                .get(name)
                .map(|answer: &Answer| answer.condition)
        };
        let connector = self.answers.get(CONNECTOR).map(|answer| &answer.samples);
        let records = |fate| connector?.sum("pulse_connector_records_total", &[("fate", fate)]);
        let is_handed_on = match (records("taken"), records("published"), records("lost")) {
            (Some(taken), Some(published), Some(lost)) => taken == published + lost,
            _ => false,
        };
        condition(SIMULATOR) == Some(Condition::Finished) && is_handed_on
    }
}

impl Pipeline {
    /// What the metrics process says of itself, and the rate measured.
    pub fn read(samples: Option<&Samples>, events_per_second: Option<f64>) -> Self {
        let sum = |name: &str, labels: &[(&str, &str)]| {
            let value = samples?.sum(name, labels)?;
            // Counts: never negative, and below 2^53 for longer than anybody lives.
            Some(value.max(0.0) as u64)
        };
        let records = |fate| sum("pulse_records", &[("fate", fate)]);
        Self {
            events_per_second,
            late: records("late"),
            duplicate: records("duplicate"),
            dead_lettered: records("dead_lettered"),
            open_short_windows: sum("pulse_open_short_windows", &[]),
        }
    }
}

/// What grew by so much in that time, per second.
pub fn per_second(grown: i64, span: Duration) -> f64 {
    match span.as_secs_f64() {
        seconds if seconds > 0.0 => grown as f64 / seconds,
        _ => 0.0,
    }
}

async fn look(gauge: &Result<Gauge, String>) -> Result<Lags, String> {
    match gauge {
        Ok(gauge) => gauge.look().await.map_err(|error| error.to_string()),
        Err(trouble) => Err(trouble.clone()),
    }
}

async fn ask_all(run: &RunFile, access: &Access) -> BTreeMap<String, Answer> {
    let mut answers = BTreeMap::new();
    for entry in &run.processes {
        let answer = match (&entry.health, entry.name.as_str()) {
            (Some(address), _) => ask(address).await,
            (None, "clickhouse") => ask_clickhouse(access).await,
            (None, SIMULATOR) => ask_simulator(&entry.address).await,
            (None, _) => continue,
        };
        answers.insert(entry.name.clone(), answer);
    }
    answers
}

async fn ask(address: &str) -> Answer {
    let (condition, reason) = match http::get(address, "/health/ready").await {
        Ok(answer) => condition(&answer.body, clock::now_ms()),
        Err(error) => (Condition::Down, Some(error.to_string())),
    };
    let samples = match http::get(address, "/metrics").await {
        Ok(answer) if answer.status == 200 => Samples::read(&answer.body),
        _ => Samples::default(),
    };
    Answer {
        condition,
        reason,
        samples,
    }
}

/// What `/health/ready` says, with the checks that are not well and since when.
fn condition(body: &str, now_ms: i64) -> (Condition, Option<String>) {
    let Ok(report) = serde_json::from_str::<Report>(body) else {
        return (
            Condition::NotReady,
            Some("its port answers something else".into()),
        );
    };
    let unwell = report
        .checks
        .iter()
        .filter(|(_, check)| check.state != "ready");
    let words: Vec<_> = unwell
        .map(|(name, check)| {
            let reason = check.reason.as_deref().unwrap_or("no reason given");
            let since = text::span((now_ms - check.since_ms).max(0));
            format!("{name}: {reason} (for {since})")
        })
        .collect();
    let reason = (!words.is_empty()).then(|| words.join("; "));
    match (report.ready, &reason) {
        (true, None) => (Condition::Ready, reason),
        (true, Some(_)) => (Condition::Warning, reason),
        (false, _) => (Condition::NotReady, reason),
    }
}

async fn ask_simulator(address: &str) -> Answer {
    let (condition, reason) = match http::get(address, "/status").await {
        Ok(answer) => match serde_json::from_str::<Served>(&answer.body) {
            Ok(served) if served.finished => {
                let count = text::count(i64::try_from(served.frame_count).unwrap_or(i64::MAX));
                (Condition::Finished, Some(format!("{count} frames served")))
            }
            Ok(_) => (Condition::Ready, None),
            Err(_) => (
                Condition::NotReady,
                Some("its port answers something else".into()),
            ),
        },
        Err(error) => (Condition::Down, Some(error.to_string())),
    };
    Answer {
        condition,
        reason,
        samples: Samples::default(),
    }
}

async fn ask_clickhouse(access: &Access) -> Answer {
    let began = clock::monotonic();
    let (condition, reason) = match clickhouse::version(access).await {
        Ok(_) => (Condition::Ready, None),
        Err(error) => {
            let after = text::span(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
            (
                Condition::NotReady,
                Some(format!("no answer after {after}: {error}")),
            )
        }
    };
    Answer {
        condition,
        reason,
        samples: Samples::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_are_not_well_are_named_with_their_reasons() {
        let check = |body: &str, expect: (Condition, Option<&str>)| {
            let (condition, reason) = condition(body, 61_000);
            assert_eq!((condition, reason.as_deref()), expect, "{body}");
        };
        check(r#"{"ready":true,"checks":{}}"#, (Condition::Ready, None));
        check(
            r#"{"ready":true,"checks":{"a":{"state":"ready","since_ms":0}}}"#,
            (Condition::Ready, None),
        );
        check(
            r#"{"ready":true,"checks":{"a":{"state":"warning","reason":"one","since_ms":1000}}}"#,
            (Condition::Warning, Some("a: one (for 1 min)")),
        );
        check(
            r#"{"ready":false,"checks":{"a":{"state":"not_ready","reason":"x","since_ms":60900},
                "b":{"state":"ready","since_ms":0}}}"#,
            (Condition::NotReady, Some("a: x (for 100 ms)")),
        );
        check(
            "<html>",
            (Condition::NotReady, Some("its port answers something else")),
        );
    }

    #[test]
    fn the_report_of_our_own_processes_can_be_read() {
        let health = runtime::health::Health::default();
        health.set("kafka", runtime::health::Condition::NotReady("away".into()));
        health.set("log", runtime::health::Condition::Warning("a hole".into()));
        let body = serde_json::to_string(&health.report()).unwrap();
        let (condition, reason) = condition(&body, 0);
        assert_eq!(condition, Condition::NotReady);
        assert_eq!(
            reason.unwrap(),
            "kafka: away (for 0 ms); log: a hole (for 0 ms)"
        );
    }

    #[test]
    fn figures_are_read_from_the_metrics_process() {
        let text = "pulse_records{tenant=\"a\",fate=\"late\"} 2\n\
                    pulse_records{tenant=\"b\",fate=\"late\"} 3\n\
                    pulse_open_short_windows{tenant=\"a\"} 0\n";
        let pipeline = Pipeline::read(Some(&Samples::read(text)), Some(7.0));
        assert_eq!(pipeline.late, Some(5));
        assert_eq!(pipeline.open_short_windows, Some(0));
        assert_eq!(pipeline.dead_lettered, None);
        assert_eq!(Pipeline::read(None, None), Pipeline::default());
        assert_eq!(per_second(10, Duration::from_secs(4)), 2.5);
        assert_eq!(per_second(10, Duration::ZERO), 0.0);
    }
}
