//! Counts the tenants that have a quota, shows gateways what they have used, and tells them.
//!
//! A tenant is counted when the sink has written something of its since it was counted last, which
//! the sink's positions tell, and not before twenty times as long has passed as that took.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::clock;
use runtime::config::{Environment, Key, Settings};
use runtime::control::{Control, ControlView};
use runtime::kafka::admin::AdminError;
use runtime::kafka::reader::ReadError;
use runtime::kafka::{Admin, Isolation, KafkaConfig, Partition};
use runtime::service::Shutdown;
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::{Stream, TenantId};
use schemas::usage::{Month, Usage};
use tokio::task::JoinSet;

use super::ledger::{CountError, Used};
use super::{Ledger, SLICE_MS};
use crate::notices::Notices;
use crate::query::server::Server;
use crate::store::usage::{QuotaNotice, Reached};
use crate::store::{Change, Store, StoreError};

pub(super) const INTERVAL: Key = Key {
    name: "PULSE_USAGE_INTERVAL_MS",
    default: Some("2000"),
    doc: "How often pulse-api looks whether tenants with a monthly quota have more rows, in milliseconds.",
};

/// The sink's consumer group: its positions are committed once their rows are in.
pub const SINK_GROUP: &str = "pulse-clickhouse";
/// How long the brokers may take to say how it stands.
const WAIT: Duration = Duration::from_secs(5);
/// How far the brokers' clocks and this one may be apart.
const SKEW_MS: i64 = 60_000;
/// Marks that are kept.
const MARKS_MAX: usize = 8;
/// Tenants that are counted at the same time.
const AT_ONCE: usize = 4;
/// How much longer than it took a count stands.
const REST: u32 = 20;
const REST_MAX: Duration = Duration::from_secs(60);
/// Shares of a quota that a tenant is told of.
const TOLD_PERCENT: [u64; 2] = [80, 100];

/// How often is looked.
#[derive(Clone, Copy, Debug)]
pub struct UsageConfig {
    interval: Duration,
}

impl Settings for UsageConfig {
    fn read(env: &mut Environment) -> Option<Self> {
        let interval_ms = env.number(&INTERVAL, 100..=3_600_000)?;
        Some(Self {
            interval: Duration::from_millis(interval_ms),
        })
    }
}

/// What counts.
#[derive(Clone)]
pub struct Keeper {
    /// Where figures are kept, and published from.
    pub store: Store,
    /// What is counted for good.
    pub ledger: Ledger,
    /// Where the rows are.
    pub server: Server,
    /// Who has which quota.
    pub view: ControlView,
    /// What tells tenants.
    pub notices: Notices,
    /// How far the sink is.
    pub kafka: KafkaConfig,
}

/// Why nobody was counted in a round.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A tenant whose month is bounded.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Bounded {
    tenant: TenantId,
    quota: u64,
    future_max_ms: i64,
}

/// How far the sink is in a tenant's events.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Standing {
    /// Behind the last record whose row is in, for each partition.
    positions: Vec<i64>,
    /// An instant, in milliseconds since 1970, before which nothing was appended that is no row
    /// yet; absent while the sink is behind.
    passed_ms: Option<i64>,
}

impl Standing {
    /// How many records that is in all.
    fn record_count(&self) -> i64 {
        self.positions.iter().sum()
    }
}

/// What is remembered of a tenant.
#[derive(Default)]
struct Seat {
    /// Where the sink was when it was counted last; before the first count nothing.
    positions: Option<Vec<i64>>,
    /// How many records it had when its figure was published last.
    published_count: Option<i64>,
    month: Option<Month>,
    quota: u64,
    rests_until: Option<Instant>,
    /// What it was told, as far as that is known to be safe.
    told: HashSet<QuotaNotice>,
}

/// Where the logs ended at a moment.
struct Mark {
    /// What was appended before this lies before those ends.
    to_ms: i64,
    ends: BTreeMap<TenantId, Vec<i64>>,
}

/// What is remembered from round to round.
#[derive(Default)]
struct Memory {
    seats: HashMap<TenantId, Seat>,
    partition_counts: BTreeMap<String, i32>,
    marks: VecDeque<Mark>,
}

impl Keeper {
    /// Counts until the process stops.
    pub async fn run(self, config: UsageConfig, shutdown: Shutdown) {
        let keeper = Arc::new(self);
        let mut memory = Memory::default();
        let mut tick = tokio::time::interval(config.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_well = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = shutdown.requested() => return,
            }
            let round = tokio::select! {
                round = keeper.round(&mut memory) => round,
                () = shutdown.requested() => return,
            };
            match (&round, was_well) {
                (Err(error), true) => tracing::warn!(%error, "usage is not counted"),
                (Ok(()), false) => tracing::info!("usage is counted again"),
                _ => {}
            }
            was_well = round.is_ok();
        }
    }

    async fn round(self: &Arc<Self>, memory: &mut Memory) -> Result<(), RoundError> {
        let bounded = bounded(&self.view.snapshot());
        memory.forget_others(&bounded);
        if bounded.is_empty() {
            return Ok(());
        }
        let standing = self.standing(memory, &bounded).await?;
        let (now_ms, now) = (clock::now_ms(), clock::monotonic());
        let mut counting = JoinSet::new();
        for tenant in bounded {
            let Some(standing) = standing.get(&tenant.tenant).cloned() else {
                continue;
            };
            let seat = memory.seats.entry(tenant.tenant.clone()).or_default();
            if !seat.is_due(&tenant, &standing.positions, now, now_ms) {
                continue;
            }
            if counting.len() >= AT_ONCE {
                memory.take_back(counting.join_next().await);
            }
            let seat = std::mem::take(memory.seats.entry(tenant.tenant.clone()).or_default());
            let sealable_ms = memory.sealable_ms(&tenant.tenant, &standing.positions);
            let keeper = Arc::clone(self);
            counting.spawn(async move { keeper.serve(tenant, seat, standing, sealable_ms).await });
        }
        while let Some(served) = counting.join_next().await {
            memory.take_back(Some(served));
        }
        Ok(())
    }

    /// Where the sink is in each of these tenants' events.
    async fn standing(
        &self,
        memory: &mut Memory,
        bounded: &[Bounded],
    ) -> Result<HashMap<TenantId, Standing>, RoundError> {
        let tenants: Vec<TenantId> = bounded.iter().map(|one| one.tenant.clone()).collect();
        let topic = |tenant: &TenantId| tenant.topic(Stream::Events).to_string();
        let known = |counts: &BTreeMap<String, i32>| {
            tenants
                .iter()
                .all(|tenant| counts.contains_key(&topic(tenant)))
        };
        let counts = match known(&memory.partition_counts) {
            true => Some(memory.partition_counts.clone()),
            false => None,
        };
        let (kafka, asked_ms) = (self.kafka.clone(), clock::now_ms());
        let ask = move || {
            let admin = Admin::new(&kafka)?;
            let counts = match counts {
                Some(counts) => counts,
                None => admin.topics(WAIT)?,
            };
            let has_topic = |tenant: &TenantId| counts.contains_key(&topic(tenant));
            let tenants: Vec<_> = tenants.into_iter().filter(has_topic).collect();
            let of = |tenant: &TenantId| {
                let name = topic(tenant);
                let count = counts[&name];
                (0..count).map(move |at| Partition::new(&name, at))
            };
            let partitions: Vec<Partition> = tenants.iter().flat_map(of).collect();
            let shared_out = |numbers: Vec<i64>| {
                let mut numbers = numbers.into_iter();
                let of = |tenant: &TenantId| {
                    let count = counts[&topic(tenant)].unsigned_abs() as usize;
                    (tenant.clone(), numbers.by_ref().take(count).collect())
                };
                tenants
                    .iter()
                    .map(of)
                    .collect::<BTreeMap<TenantId, Vec<i64>>>()
            };
            let edges = admin.watermarks(&partitions, Isolation::Committed, WAIT)?;
            let ends = shared_out(edges.iter().map(|edge| edge.high).collect());
            let committed = admin.committed(SINK_GROUP, &partitions, WAIT)?;
            let offsets = committed.into_iter();
            let offsets = offsets.map(|position| position.map_or(0, |one| one.offset));
            let positions = shared_out(offsets.collect());
            Ok::<_, RoundError>((counts, ends, positions))
        };
        let asked = tokio::task::spawn_blocking(ask).await;
        let (counts, ends, positions) = asked.expect("asking the brokers does not panic")?;
        memory.partition_counts = counts;
        let stands = |(tenant, positions): (TenantId, Vec<i64>)| {
            let is_passed = has_passed(&positions, ends.get(&tenant));
            let passed_ms = is_passed.then_some(asked_ms);
            let standing = Standing {
                positions,
                passed_ms,
            };
            (tenant, standing)
        };
        let standing = positions.into_iter().map(stands).collect();
        memory.mark(asked_ms, ends);
        Ok(standing)
    }

    /// Counts a tenant and does what follows from it.
    async fn serve(
        &self,
        bounded: Bounded,
        mut seat: Seat,
        standing: Standing,
        sealable_ms: Option<i64>,
    ) -> (TenantId, Seat) {
        let tenant = bounded.tenant.clone();
        let began = clock::monotonic();
        let counted = self.count(&bounded, sealable_ms).await;
        let rest = (began.elapsed() * REST).min(REST_MAX);
        seat.rests_until = Some(clock::monotonic() + rest);
        let used = match counted {
            Ok(used) => used,
            Err(error) => {
                tracing::warn!(%tenant, %error, "usage was not counted");
                return (tenant, seat);
            }
        };
        match self.show(&bounded, &used, &standing, &mut seat).await {
            Ok(()) => {
                seat.positions = Some(standing.positions);
                seat.month = Some(used.month);
                seat.quota = bounded.quota;
            }
            Err(error) => tracing::warn!(%tenant, %error, "usage was not published"),
        }
        (tenant, seat)
    }

    async fn count(&self, bounded: &Bounded, sealable_ms: Option<i64>) -> Result<Used, CountError> {
        let (tenant, now_ms) = (&bounded.tenant, clock::now_ms());
        let used = self
            .ledger
            .used(&self.server, tenant, bounded.future_max_ms, now_ms);
        let used = used.await?;
        if let Some(to_ms) = sealable_ms {
            self.ledger.seal(tenant, &used.open, to_ms).await?;
        }
        Ok(used)
    }

    /// Has gateways see what was used, and the tenant be told.
    async fn show(
        &self,
        bounded: &Bounded,
        used: &Used,
        standing: &Standing,
        seat: &mut Seat,
    ) -> Result<(), StoreError> {
        let passed_ms = standing.passed_ms.unwrap_or(i64::MIN);
        let counted_to_ms = used.counted_to_ms.max(passed_ms);
        let usage = Usage {
            month: used.month,
            events: used.events,
            counted_to_ms: counted_to_ms.min(used.month.end_ms()),
        };
        let count = standing.record_count();
        let since = seat.published_count.map(|before| count.abs_diff(before));
        if self.publish(bounded, usage, since).await? {
            seat.published_count = Some(count);
        }
        for percent in TOLD_PERCENT {
            let is_reached = bounded.quota > 0
                && u128::from(used.events) * 100 >= u128::from(bounded.quota) * u128::from(percent);
            let notice = QuotaNotice {
                tenant: bounded.tenant.clone(),
                month: used.month,
                percent,
                quota: bounded.quota,
            };
            if is_reached && !seat.told.contains(&notice) {
                self.tell(&notice, used.events).await?;
                seat.told.insert(notice);
            }
        }
        seat.told.retain(|notice| notice.month == used.month);
        Ok(())
    }

    /// True when it was worth it; `since` is the number of records since the last time.
    async fn publish(
        &self,
        bounded: &Bounded,
        usage: Usage,
        since: Option<u64>,
    ) -> Result<bool, StoreError> {
        let key = ControlKey {
            tenant: bounded.tenant.clone(),
            kind: Kind::Usage,
            id: "self".into(),
        };
        let quota = bounded.quota;
        let put = move |change: &mut Change<'_>| {
            let held = match change.live(&key)?.map(|row| row.definition()) {
                Some(Ok(Some(Definition::Usage(held)))) => Some(held),
                _ => None,
            };
            let is_worth_it = is_worth_saying(held, usage, since, quota);
            if is_worth_it {
                change.put(&key, &Definition::Usage(usage))?;
            }
            Ok::<_, StoreError>(is_worth_it)
        };
        // The courier publishes it, now or when the brokers are back.
        let (is_worth_it, _published_later) = self.store.commit(put).await?;
        Ok(is_worth_it)
    }

    /// Tells a tenant, until it is known to be told.
    async fn tell(&self, notice: &QuotaNotice, events: u64) -> Result<(), StoreError> {
        let noted = notice.clone();
        let note = move |change: &mut Change<'_>| change.note_quota(&noted, events);
        let (reached, _nothing_published): (Reached, _) = self.store.commit(note).await?;
        if reached.is_published || !self.notices.quota_reached(notice, reached).await {
            return Ok(());
        }
        let noted = notice.clone();
        let note = move |change: &mut Change<'_>| change.note_quota_published(&noted);
        let ((), _nothing_published) = self.store.commit(note).await?;
        Ok(())
    }
}

/// Tenants with a quota.
fn bounded(control: &Control) -> Vec<Bounded> {
    let quota = |(tenant, control): (&TenantId, &Arc<runtime::control::TenantControl>)| {
        let own = &control.tenant.as_ref()?.value;
        Some(Bounded {
            tenant: tenant.clone(),
            quota: own.ingest.over(own.tier).events_per_month?,
            future_max_ms: own.limits.future_max_ms,
        })
    };
    control.tenants().filter_map(quota).collect()
}

/// True where gateways should know better than what was published last: the nearer the quota, the
/// more exactly, in about a hundred steps in all. `since` is the number of records since then,
/// which gateways hold for events until they learn that they were repeats.
fn is_worth_saying(held: Option<Usage>, usage: Usage, since: Option<u64>, quota: u64) -> bool {
    let Some(held) = held.filter(|held| held.month == usage.month) else {
        return held.is_some() || usage.events > 0;
    };
    let Some(since) = since else {
        // Nobody knows what came while nobody counted.
        return held != usage;
    };
    let left = quota.saturating_sub(held.events);
    let step = match left {
        0 => quota / 16,
        left => (left / 16).max(quota / 10_000),
    };
    held.events.abs_diff(usage.events).max(since) >= step.max(1)
}

/// True when each partition's position is behind its end.
fn has_passed(positions: &[i64], ends: Option<&Vec<i64>>) -> bool {
    ends.is_some_and(|ends| {
        ends.len() == positions.len() && ends.iter().zip(positions).all(|(end, at)| at >= end)
    })
}

impl Seat {
    fn is_due(&self, tenant: &Bounded, positions: &[i64], now: Instant, now_ms: i64) -> bool {
        if self.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        let is_same = self.positions.as_deref() == Some(positions);
        !is_same || self.month != Some(Month::holding(now_ms)) || self.quota != tenant.quota
    }
}

impl Memory {
    fn forget_others(&mut self, bounded: &[Bounded]) {
        let kept: HashSet<&TenantId> = bounded.iter().map(|one| &one.tenant).collect();
        self.seats.retain(|tenant, _| kept.contains(tenant));
    }

    fn take_back(&mut self, served: Option<Result<(TenantId, Seat), tokio::task::JoinError>>) {
        if let Some(Ok((tenant, seat))) = served {
            self.seats.insert(tenant, seat);
        }
    }

    /// Notes where the logs ended after `asked_ms`.
    fn mark(&mut self, asked_ms: i64, ends: BTreeMap<TenantId, Vec<i64>>) {
        let to_ms = (asked_ms - SKEW_MS).div_euclid(SLICE_MS) * SLICE_MS;
        if self.marks.back().is_some_and(|mark| mark.to_ms == to_ms) {
            // The earlier one says the same of less of the log.
            return;
        }
        self.marks.push_back(Mark { to_ms, ends });
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
    }

    /// Up to where all that was appended is in ClickHouse, in each of a tenant's partitions.
    fn sealable_ms(&self, tenant: &TenantId, positions: &[i64]) -> Option<i64> {
        let is_passed = |mark: &&Mark| has_passed(positions, mark.ends.get(tenant));
        self.marks
            .iter()
            .rev()
            .find(is_passed)
            .map(|mark| mark.to_ms)
    }
}

#[cfg(test)]
mod tests;
