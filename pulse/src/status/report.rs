//! What `pulse status` says: as JSON for scripts, as a table for people.

use schemas::ids::TenantId;
use serde::Serialize;

use super::lag::GroupLag;
use crate::cli::text::{self, Align, Table};
use crate::installation::{FeedEntry, RunState};

/// How an installation is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Status {
    /// The data folder.
    pub data: String,
    /// How far `pulse up` has come.
    pub state: RunState,
    /// When it began, in ms since the epoch.
    pub began_at_ms: i64,
    /// The tenant that the feed writes for.
    pub tenant: Option<TenantId>,
    /// Where events come from.
    pub feed: Option<FeedEntry>,
    /// True when every process can do its work.
    pub healthy: bool,
    /// In the order in which they were started.
    pub processes: Vec<ProcessStatus>,
    /// How far each consumer group is; absent while the brokers do not answer.
    pub groups: Option<Vec<GroupLag>>,
    /// The sum of all groups' lags; absent while the brokers do not answer.
    pub lag: Option<i64>,
    /// What the pipeline counts.
    pub pipeline: Pipeline,
    /// True when a replay was served and everything of it is in ClickHouse.
    pub drained: bool,
    /// What is not yet so; empty when drained.
    pub not_drained_because: Vec<String>,
}

/// How a process is.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// Its pid, while it runs and is ours.
    pub pid: Option<u32>,
    /// Where clients reach it.
    pub address: String,
    /// How it is.
    pub health: Condition,
    /// Why, in words, where there is something to say.
    pub reason: Option<String>,
    /// How often it was started again.
    pub restart_count: u32,
    /// Events (records, for the sink) that it took in per second just now.
    pub events_per_second: Option<f64>,
    /// How far it is behind the log.
    pub lag: Option<i64>,
    /// The file with its output.
    pub log: Option<String>,
}

/// How a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It can do its work.
    Ready,
    /// It works, and there is something that an operator should know.
    Warning,
    /// It has done all that it was told to.
    Finished,
    /// It has just been started.
    Starting,
    /// It runs and cannot do its work.
    NotReady,
    /// It died, and is started again.
    Restarting,
    /// It does not run, or does not answer.
    Down,
}

/// What the pipeline counts, of all tenants together.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Pipeline {
    /// Events that came into the log per second just now.
    pub events_per_second: Option<f64>,
    /// Events that came so late that no window takes them.
    pub late: Option<u64>,
    /// Events that were there already.
    pub duplicate: Option<u64>,
    /// Events that nobody could use.
    pub dead_lettered: Option<u64>,
    /// Windows of at most a minute that have not fired.
    pub open_short_windows: Option<u64>,
}

impl Condition {
    /// True when nobody needs to act.
    pub fn is_well(self) -> bool {
        matches!(self, Self::Ready | Self::Warning | Self::Finished)
    }

    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Warning => "warning",
            Self::Finished => "finished",
            Self::Starting => "starting",
            Self::NotReady => "not ready",
            Self::Restarting => "restarting",
            Self::Down => "down",
        }
    }
}

/// The table of processes, and behind it what there is to say of each.
pub fn table(processes: &[ProcessStatus]) -> String {
    let mut table = Table::new(&[
        ("PROCESS", Align::Left),
        ("ADDRESS", Align::Left),
        ("HEALTH", Align::Left),
        ("EVENTS/S", Align::Right),
        ("LAG", Align::Right),
        ("RESTARTS", Align::Right),
    ]);
    for process in processes {
        table.row([
            process.name.clone(),
            process.address.clone(),
            process.health.as_str().to_owned(),
            process.events_per_second.map_or("-".into(), text::rate),
            process.lag.map_or("-".into(), text::count),
            text::count(i64::from(process.restart_count)),
        ]);
    }
    let mut text = table.to_string();
    for process in processes {
        if let Some(reason) = &process.reason {
            let reason = text::harmless(reason);
            text.push_str(&format!("  {}: {reason}\n", process.name));
        }
    }
    text
}

impl Status {
    /// The whole of it for people.
    pub fn to_text(&self, now_ms: i64) -> String {
        let state = match self.state {
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Stopping => "stopping",
        };
        let span = text::span((now_ms - self.began_at_ms).max(0));
        let mut text = format!("{state} for {span} in {}\n", self.data);
        if let (Some(tenant), Some(feed)) = (&self.tenant, &self.feed) {
            text.push_str(&format!("tenant {tenant}: {}\n", feed.detail));
        }
        text.push('\n');
        text.push_str(&table(&self.processes));
        text.push('\n');
        text.push_str(&self.pipeline_line());
        text.push_str(&self.drained_line());
        text
    }

    fn pipeline_line(&self) -> String {
        let number = |value: Option<u64>| match value.and_then(|value| i64::try_from(value).ok()) {
            Some(value) => text::count(value),
            None => "unknown".to_owned(),
        };
        let pipeline = &self.pipeline;
        format!(
            "{} events/s, lag {}; late {}, duplicates {}, dead-lettered {}\n",
            pipeline
                .events_per_second
                .map_or("unknown".into(), text::rate),
            self.lag.map_or("unknown".into(), text::count),
            number(pipeline.late),
            number(pipeline.duplicate),
            number(pipeline.dead_lettered),
        )
    }

    fn drained_line(&self) -> String {
        let is_replay = self.feed.as_ref().is_some_and(|feed| feed.kind == "replay");
        match (is_replay, self.drained) {
            (false, _) => String::new(),
            (true, true) => "drained: everything of the replay is in ClickHouse\n".to_owned(),
            (true, false) => {
                format!("not drained yet: {}\n", self.not_drained_because.join("; "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, health: Condition) -> ProcessStatus {
        ProcessStatus {
            name: name.into(),
            pid: Some(7),
            address: "127.0.0.1:9102".into(),
            health,
            reason: (health != Condition::Ready).then(|| "kafka: no broker answers".into()),
            restart_count: 1,
            events_per_second: Some(1_234.5),
            lag: Some(12_345),
            log: None,
        }
    }

    #[test]
    fn the_table_lines_up_and_reasons_follow() {
        let processes = [
            process("pulse-metrics", Condition::Ready),
            process("kafka", Condition::NotReady),
        ];
        insta::assert_snapshot!(table(&processes), @r"
        PROCESS        ADDRESS         HEALTH     EVENTS/S     LAG  RESTARTS
        pulse-metrics  127.0.0.1:9102  ready         1,235  12,345         1
        kafka          127.0.0.1:9102  not ready     1,235  12,345         1
          kafka: kafka: no broker answers
        ");
    }

    #[test]
    fn scripts_find_their_words() {
        let status = Status {
            data: "/d".into(),
            state: RunState::Running,
            began_at_ms: 0,
            tenant: Some("demo".parse().unwrap()),
            feed: None,
            healthy: false,
            processes: vec![process("kafka", Condition::NotReady)],
            groups: None,
            lag: None,
            pipeline: Pipeline::default(),
            drained: false,
            not_drained_because: vec!["lag is unknown".into()],
        };
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["drained"], false);
        assert_eq!(json["tenant"], "demo");
        assert_eq!(json["state"], "running");
        assert_eq!(json["processes"][0]["health"], "not_ready");
        assert!(json["lag"].is_null());
    }
}
