//! Whether a process can do its work, by named checks with reasons.
//!
//! A part registers its check when it is built, so a process is not ready before every part has
//! said that it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::{self, Deadline};
use crate::kafka::probe::Probe;
use crate::kafka::{Failure, GroupConsumer, KafkaConfig, Standing};
use crate::service::Shutdown;

/// How often the brokers are asked, and how long they have to answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_WAIT: Duration = Duration::from_secs(2);

/// How long the positions of a member's partitions may take before that is told.
const POSITIONS_MAX: Duration = Duration::from_secs(2);

/// How often a member is looked at that was about to join.
const JOINING_INTERVAL: Duration = Duration::from_millis(50);

/// What a check says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum Condition {
    /// All is well.
    Ready,
    /// The work goes on, but an operator should know.
    Warning(String),
    /// The part cannot work.
    NotReady(String),
}

/// A check's condition and since when it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What it says.
    #[serde(flatten)]
    pub condition: Condition,
    /// When it began to say so, in ms since the epoch.
    pub since_ms: i64,
}

/// All checks of a process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// True when there are checks, and none of them is [`Condition::NotReady`]: a process whose
    /// parts have said nothing yet is not ready.
    pub ready: bool,
    /// By name.
    pub checks: BTreeMap<&'static str, Check>,
}

/// A process's checks. Cheap to clone; all clones are one set.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Check>>>,
}

impl Health {
    /// Adds a check that is not ready until it is [`set`](Self::set).
    pub fn register(&self, name: &'static str) {
        self.set(name, Condition::NotReady("starting".into()));
    }

    /// Says how a part is. A change is logged; saying the same again is not.
    pub fn set(&self, name: &'static str, condition: Condition) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = checks.get(name);
        if before.is_some_and(|check| check.condition == condition) {
            return;
        }
        match &condition {
            Condition::Ready if before.is_some() => tracing::info!(check = name, "ready"),
            Condition::Ready => {}
            Condition::Warning(reason) => tracing::warn!(check = name, reason, "warning"),
            Condition::NotReady(reason) if before.is_some() => {
                tracing::warn!(check = name, reason, "not ready");
            }
            Condition::NotReady(_) => {}
        }
        checks.insert(
            name,
            Check {
                condition,
                since_ms: clock::now_ms(),
            },
        );
    }

    /// Removes a check: its part has ended in order.
    pub fn retire(&self, name: &'static str) {
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// All checks now.
    pub fn report(&self) -> Report {
        let checks = self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let is_ready = |check: &Check| !matches!(check.condition, Condition::NotReady(_));
        Report {
            ready: !checks.is_empty() && checks.values().all(is_ready),
            checks,
        }
    }

    /// Keeps the checks `kafka` and `kafka_replicas` true, on a thread of its own, until
    /// `shutdown`.
    ///
    /// # Errors
    /// When no client can be made with these settings, or no thread.
    pub fn watch_kafka(&self, kafka: &KafkaConfig, shutdown: &Shutdown) -> anyhow::Result<()> {
        self.register("kafka");
        if kafka.min_in_sync_replicas < 2 && !kafka.is_loopback() {
            let reason = "fewer than 2 in-sync replicas: a broker's disk is the only copy".into();
            self.set("kafka_replicas", Condition::Warning(reason));
        }
        let probe = Probe::new(kafka)?;
        let (health, shutdown) = (self.clone(), shutdown.clone());
        std::thread::Builder::new()
            .name("kafka-probe".into())
            .spawn(move || {
                while !shutdown.is_requested() {
                    health.set("kafka", condition_of(probe.broker_count(PROBE_WAIT)));
                    shutdown.wait_at_most(PROBE_INTERVAL);
                }
            })?;
        Ok(())
    }
}

/// Keeps a check true, `group` mostly: a member that owns nothing may be well, one that the group
/// has lost is not, and nobody else would notice.
pub struct Membership {
    check: &'static str,
    health: Health,
    again: Deadline,
    /// When partitions that wait for their positions are worth a word.
    patience: Option<Deadline>,
}

impl Membership {
    /// Registers the check.
    pub fn watch(health: &Health) -> Self {
        Self::watch_as(health, "group")
    }

    /// The same under a name of its own, for a process that is in several groups.
    pub fn watch_as(health: &Health, check: &'static str) -> Self {
        health.register(check);
        Self {
            check,
            health: health.clone(),
            again: Deadline::after(Duration::ZERO),
            patience: None,
        }
    }

    /// Looks at a member that has subscribed, if it was not looked at a moment ago.
    pub fn look(&mut self, member: &GroupConsumer) {
        if self.again.has_passed() {
            self.tell(member.standing());
        }
    }

    fn tell(&mut self, standing: Standing) {
        let is_settled = matches!(standing, Standing::In { waiting: 0, .. });
        self.again = Deadline::after(match is_settled {
            true => PROBE_INTERVAL,
            false => JOINING_INTERVAL,
        });
        let Standing::In { read, waiting } = standing else {
            self.patience = None;
            let reason = "joins the group: no partition is read meanwhile";
            self.health
                .set(self.check, Condition::NotReady(reason.into()));
            return;
        };
        if waiting == 0 {
            self.patience = None;
            self.health.set(self.check, Condition::Ready);
            return;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Deadline::after(POSITIONS_MAX));
        if patience.has_passed() {
            let reason = format!("positions are undecided: {waiting} of the partitions wait");
            let condition = match read {
                0 => Condition::NotReady(reason),
                _ => Condition::Warning(reason),
            };
            self.health.set(self.check, condition);
        }
    }
}

/// A broker that does not let us in is there, so nobody should look for it on the network.
fn condition_of(counted: Result<usize, Failure>) -> Condition {
    match counted {
        Ok(_) => Condition::Ready,
        Err(failure) if failure.is_locked_out() => {
            Condition::NotReady(format!("no broker lets us in: {failure}"))
        }
        Err(failure) => Condition::NotReady(format!("no broker answers: {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_check_is() {
        let health = Health::default();
        assert!(!health.report().ready, "nobody has said anything yet");
        health.register("kafka");
        health.set("clickhouse", Condition::Ready);
        assert!(!health.report().ready);
        health.set("kafka", Condition::Warning("one replica".into()));
        assert!(health.report().ready);
        health.set(
            "clickhouse",
            Condition::NotReady("connection refused".into()),
        );
        let report = health.report();
        assert!(!report.ready);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["checks"]["clickhouse"]["state"], "not_ready");
        assert_eq!(json["checks"]["clickhouse"]["reason"], "connection refused");
        health.retire("clickhouse");
        assert!(health.report().ready);
    }

    #[test]
    fn saying_the_same_again_keeps_the_time() {
        let health = Health::default();
        health.set("kafka", Condition::Ready);
        let since = health.report().checks["kafka"].since_ms;
        while clock::now_ms() == since {
            std::hint::spin_loop();
        }
        health.set("kafka", Condition::Ready);
        assert_eq!(health.report().checks["kafka"].since_ms, since);
    }

    #[test]
    fn a_member_without_partitions_is_well_and_one_outside_its_group_is_not() {
        let health = Health::default();
        let mut membership = Membership::watch(&health);
        let mut is_ready = |standing| {
            membership.tell(standing);
            health.report().ready
        };
        assert!(!is_ready(Standing::Out));
        let waits = Standing::In {
            read: 0,
            waiting: 3,
        };
        assert!(
            !is_ready(waits),
            "it says what it said until that takes long"
        );
        let settled = |read| Standing::In { read, waiting: 0 };
        assert!(is_ready(settled(0)));
        assert!(is_ready(settled(3)));
        assert!(is_ready(waits), "a rebalance");
        assert!(!is_ready(Standing::Out));
    }
}
