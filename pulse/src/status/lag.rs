//! How far each consumer group is behind the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::config::Environment;
use runtime::kafka::admin::AdminError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition};
use schemas::ids::{Stream, TenantId, Topic};
use serde::Serialize;

/// How long one question to the brokers may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Where partitions begin and end.
pub type Edges = BTreeMap<(Topic, i32), (i64, i64)>;

/// Why the lag is not known.
#[derive(Debug, thiserror::Error)]
pub enum LagError {
    /// The cluster did not answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The ends of partitions could not be learnt.
    #[error(transparent)]
    Ends(#[from] ReadError),
}

/// A consumer group of ours and the streams that it reads of every tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The process that is its member.
    pub process: &'static str,
    /// What it reads.
    pub streams: &'static [Stream],
}

/// A partition that a group reads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The committed position; absent where the group has never committed.
    pub position: Option<i64>,
    /// The offset after the last committed record.
    pub end: i64,
    /// Offsets between the two; from the log's beginning where nothing was committed.
    pub lag: i64,
}

/// How far a group is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupLag {
    /// The group.
    pub group: String,
    /// The process that is its member.
    pub process: &'static str,
    /// The sum over all partitions.
    pub lag: i64,
    /// Where it is, in each partition.
    pub partitions: Vec<PartitionLag>,
}

/// What a look at the brokers showed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lags {
    /// One for each group.
    pub groups: Vec<GroupLag>,
    /// Where each of our tenants' partitions begins and ends.
    pub edges: Edges,
}

/// The groups of an installation.
pub fn groups(env: &mut Environment) -> Vec<Group> {
    let key = processors::metrics::service::KEYS
        .iter()
        .find(|key| key.name == METRICS_GROUP);
    let metrics = key
        .and_then(|key| env.text(key))
        .unwrap_or_else(|| "pulse-metrics".into());
    let sink = &[
        Stream::Events,
        Stream::Metrics,
        Stream::Late,
        Stream::DeadLetters,
    ];
    vec![
        Group {
            name: metrics,
            process: "pulse-metrics",
            streams: &[Stream::Events],
        },
        Group {
            name: sinks::clickhouse::GROUP.into(),
            process: "pulse-clickhouse",
            streams: sink,
        },
    ]
}

const METRICS_GROUP: &str = "PULSE_METRICS_GROUP";

/// Asks the brokers. Cheap to clone.
#[derive(Clone)]
pub struct Gauge {
    admin: Arc<Admin>,
    groups: Vec<Group>,
}

impl Gauge {
    /// One that asks these brokers about these groups.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(kafka: &KafkaConfig, groups: Vec<Group>) -> Result<Self, LagError> {
        Ok(Self {
            admin: Arc::new(Admin::new(kafka)?),
            groups,
        })
    }

    /// Where all groups are now.
    ///
    /// Positions are read before ends, so that a lag of 0 was true at some moment: a group does not
    /// go back.
    ///
    /// # Errors
    /// When the brokers do not answer.
    pub async fn look(&self) -> Result<Lags, LagError> {
        let this = self.clone();
        let look = tokio::task::spawn_blocking(move || this.look_blocking());
        look.await.expect("looking does not panic")
    }

    fn look_blocking(&self) -> Result<Lags, LagError> {
        let partitions = self.partitions()?;
        let mut positions = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let read: Vec<&(Topic, i32)> = partitions
                .iter()
                .filter(|(topic, _)| group.streams.contains(&topic.stream))
                .collect();
            positions.push(self.positions(&group.name, read)?);
        }
        let edges = self.edges(&partitions)?;
        let groups = self.groups.iter().zip(positions);
        let groups = groups
            .map(|(group, found)| GroupLag::of(group, found, &edges))
            .collect();
        Ok(Lags { groups, edges })
    }

    /// All partitions of all tenants' topics.
    fn partitions(&self) -> Result<Vec<(Topic, i32)>, LagError> {
        let topics = self.admin.topics(ANSWER_MAX)?;
        let ours = topics
            .iter()
            .filter_map(|(name, count)| Some((name.parse().ok()?, *count)));
        let of_topic = |(topic, count): (Topic, i32)| (0..count).map(move |n| (topic.clone(), n));
        Ok(ours.flat_map(of_topic).collect())
    }

    fn positions(
        &self,
        group: &str,
        read: Vec<&(Topic, i32)>,
    ) -> Result<BTreeMap<(Topic, i32), Option<i64>>, LagError> {
        let asked: Vec<_> = read.iter().map(|(topic, n)| partition(topic, *n)).collect();
        let answers = self.admin.committed(group, &asked, ANSWER_MAX)?;
        let found = answers
            .into_iter()
            .map(|answer| answer.map(|committed| committed.offset));
        Ok(read.into_iter().cloned().zip(found).collect())
    }

    fn edges(&self, partitions: &[(Topic, i32)]) -> Result<Edges, LagError> {
        let asked: Vec<_> = partitions
            .iter()
            .map(|(topic, n)| partition(topic, *n))
            .collect();
        let edges = self
            .admin
            .watermarks(&asked, Isolation::Committed, ANSWER_MAX)?;
        let pairs = edges.into_iter().map(|edges| (edges.low, edges.high));
        Ok(partitions.iter().cloned().zip(pairs).collect())
    }
}

impl GroupLag {
    fn of(group: &Group, positions: BTreeMap<(Topic, i32), Option<i64>>, edges: &Edges) -> Self {
        let partition = |((topic, number), position): ((Topic, i32), Option<i64>)| {
            let (low, end) = edges
                .get(&(topic.clone(), number))
                .copied()
                .unwrap_or((0, 0));
            let lag = (end - position.unwrap_or(low)).max(0);
            PartitionLag {
                topic: topic.to_string(),
                partition: number,
                position,
                end,
                lag,
            }
        };
        let partitions: Vec<_> = positions.into_iter().map(partition).collect();
        let lag = partitions.iter().map(|partition| partition.lag).sum();
        Self {
            group: group.name.clone(),
            process: group.process,
            lag,
            partitions,
        }
    }

    /// The sum of all committed positions: its growth is what the group has read.
    pub fn position(&self) -> i64 {
        self.partitions
            .iter()
            .filter_map(|partition| partition.position)
            .sum()
    }
}

impl Lags {
    /// The sum of the ends of one stream, of one tenant or of all: its growth is what was written.
    pub fn end(&self, tenant: Option<&TenantId>, stream: Stream) -> i64 {
        let is_meant = |topic: &Topic| {
            topic.stream == stream && tenant.is_none_or(|tenant| topic.tenant == *tenant)
        };
        let ends = self.edges.iter().filter(|((topic, _), _)| is_meant(topic));
        ends.map(|(_, (_, end))| end).sum()
    }

    /// The group whose member is that process.
    pub fn of_process(&self, process: &str) -> Option<&GroupLag> {
        self.groups.iter().find(|group| group.process == process)
    }

    /// The sum over all groups.
    pub fn total(&self) -> i64 {
        self.groups.iter().map(|group| group.lag).sum()
    }
}

fn partition(topic: &Topic, number: i32) -> Partition {
    Partition::new(&topic.to_string(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(stream: Stream, number: i32) -> (Topic, i32) {
        ("demo".parse::<TenantId>().unwrap().topic(stream), number)
    }

    #[test]
    fn lag_is_counted_from_the_beginning_where_nothing_was_committed() {
        let group = Group {
            name: "g".into(),
            process: "p",
            streams: &[Stream::Events],
        };
        let events = |number| place(Stream::Events, number);
        let edges = BTreeMap::from([
            (events(0), (0, 10)),
            (events(1), (5, 10)),
            (events(2), (0, 0)),
            (place(Stream::Late, 0), (0, 7)),
        ]);
        let positions =
            BTreeMap::from([(events(0), Some(7)), (events(1), None), (events(2), None)]);
        let lag = GroupLag::of(&group, positions, &edges);
        let lags: Vec<_> = lag
            .partitions
            .iter()
            .map(|partition| partition.lag)
            .collect();
        assert_eq!((lags, lag.lag, lag.position()), (vec![3, 5, 0], 8, 7));

        let lags = Lags {
            groups: vec![lag],
            edges,
        };
        assert_eq!(lags.end(None, Stream::Events), 20);
        assert_eq!(lags.end(Some(&"other".parse().unwrap()), Stream::Events), 0);
        assert_eq!(lags.end(None, Stream::Late), 7);
        assert_eq!(lags.total(), 8);
    }

    #[test]
    fn the_metrics_group_is_the_one_that_the_process_joins() {
        let names = |set: &[(&str, &str)]| {
            let mut env = Environment::of(set.iter().copied());
            groups(&mut env)
                .into_iter()
                .map(|group| group.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["pulse-metrics", "pulse-clickhouse"]);
        assert_eq!(names(&[(METRICS_GROUP, "other")])[0], "other");
        let declared = processors::metrics::service::KEYS.iter();
        assert!(
            declared
                .map(|key| key.name)
                .any(|name| name == METRICS_GROUP)
        );
    }
}
