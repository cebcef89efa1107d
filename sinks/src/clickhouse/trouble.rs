//! What reading depends on and cannot have now: tried again after growing waits, told once.
//!
//! No instant is read here; the caller says what time it is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use runtime::fate::Backoff;
use runtime::health::{Condition, Health};
use runtime::kafka::Partition;

/// The health check's name.
pub(super) const CHECK: &str = "reading";

/// Waits between attempts. The group must be looked at every few seconds.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long there must be no failure before a trouble is over: librdkafka tells of one now and
/// then, while it goes on.
const QUIET: Duration = Duration::from_secs(10);

/// What may be in trouble while the rest goes on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Source {
    /// Our membership.
    Group,
    /// A partition of ours.
    Partition(Partition),
}

/// All that is in trouble, as a health check.
pub(super) struct Troubles {
    health: Health,
    known: BTreeMap<Source, Trouble>,
}

struct Trouble {
    /// What was said first; later words differ in numbers.
    reason: String,
    backoff: Backoff,
    again_at: Instant,
    over_at: Instant,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group => f.write_str("group"),
            Self::Partition(partition) => write!(f, "{partition}"),
        }
    }
}

impl Troubles {
    pub(super) fn watch(health: &Health) -> Self {
        health.set(CHECK, Condition::Ready);
        Self {
            health: health.clone(),
            known: BTreeMap::new(),
        }
    }

    /// True while this is to be left alone.
    pub(super) fn holds_back(&self, source: &Source, now: Instant) -> bool {
        let trouble = self.known.get(source);
        trouble.is_some_and(|trouble| now < trouble.again_at)
    }

    /// The same of a partition.
    #[inline]
    pub(super) fn holds_back_partition(&self, partition: &Partition, now: Instant) -> bool {
        !self.known.is_empty() && self.holds_back(&Source::Partition(partition.clone()), now)
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, source: Source, error: &dyn fmt::Display, now: Instant) {
        let trouble = self.known.entry(source).or_insert_with_key(|source| {
            tracing::warn!(%source, %error, "in trouble: tried again after growing waits");
            Trouble {
                reason: error.to_string(),
                backoff: Backoff::new(WAIT_FIRST, WAIT_MAX),
                again_at: now,
                over_at: now,
            }
        });
        trouble.again_at = now + trouble.backoff.next_wait();
        trouble.over_at = trouble.again_at + QUIET;
    }

    /// The partition is no longer ours.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.known.remove(&Source::Partition(partition.clone()));
    }

    /// Lets go of what is over, and says how things are; `partition_count` are ours.
    pub(super) fn settle(&mut self, partition_count: usize, now: Instant) {
        self.known.retain(|source, trouble| {
            let is_over = trouble.over_at <= now;
            if is_over {
                tracing::info!(%source, "out of trouble");
            }
            !is_over
        });
        self.health.set(CHECK, self.condition(partition_count));
    }

    fn condition(&self, partition_count: usize) -> Condition {
        let Some(first) = self.known.values().next() else {
            return Condition::Ready;
        };
        let reason = match self.known.len() - 1 {
            0 => first.reason.clone(),
            more => format!("{}, and {more} more", first.reason),
        };
        let is_partition = |source: &&Source| matches!(source, Source::Partition(_));
        match self.known.keys().filter(is_partition).count() {
            count if count > 0 && count == partition_count => Condition::NotReady(reason),
            _ => Condition::Warning(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Scene {
        health: Health,
        troubles: Troubles,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let health = Health::default();
            let troubles = Troubles::watch(&health);
            Self {
                health,
                troubles,
                now: runtime::clock::monotonic(),
            }
        }

        fn fail(&mut self, source: &Source) {
            let error = format!("{source} is away");
            self.troubles.failed(source.clone(), &error, self.now);
        }

        fn says(&mut self) -> Condition {
            self.troubles.settle(2, self.now);
            self.health.report().checks[CHECK].condition.clone()
        }
    }

    fn partition(number: i32) -> Partition {
        Partition::new("pulse.demo.events", number)
    }

    #[test]
    fn waits_grow_and_the_others_are_read() {
        let mut scene = Scene::new();
        let source = Source::Partition(partition(0));
        let mut attempt_count = 0;
        let end = scene.now + 60 * SECOND;
        while scene.now < end {
            let troubles = &scene.troubles;
            assert!(!troubles.holds_back_partition(&partition(1), scene.now));
            assert!(!troubles.holds_back(&Source::Group, scene.now));
            if !troubles.holds_back_partition(&partition(0), scene.now) {
                attempt_count += 1;
                scene.fail(&source);
            }
            scene.now += SECOND / 100;
        }
        assert!((60..130).contains(&attempt_count), "{attempt_count}");
        let expect = Condition::Warning("pulse.demo.events[0] is away".into());
        assert_eq!(scene.says(), expect);
    }

    #[test]
    fn it_is_over_after_a_quiet_time_or_with_the_partition() {
        let mut scene = Scene::new();
        scene.fail(&Source::Partition(partition(0)));
        scene.now += 9 * SECOND;
        scene.fail(&Source::Group);
        let reason = "group is away, and 1 more".to_owned();
        assert_eq!(scene.says(), Condition::Warning(reason));
        scene.now += 2 * SECOND;
        let reason = "group is away".to_owned();
        assert_eq!(scene.says(), Condition::Warning(reason));
        scene.now += 9 * SECOND;
        assert_eq!(scene.says(), Condition::Ready);
        scene.fail(&Source::Partition(partition(0)));
        scene.fail(&Source::Partition(partition(1)));
        let reason = "pulse.demo.events[0] is away, and 1 more".to_owned();
        assert_eq!(scene.says(), Condition::NotReady(reason));
        scene.troubles.forget(&partition(0));
        scene.troubles.forget(&partition(1));
        assert_eq!(scene.says(), Condition::Ready);
    }
}
