//! Counts of minutes that are kept while nothing new comes into them.
//!
//! A minute's counts are those of its identities, so a repeat changes nothing, and an event that
//! comes later changes those of its own minute alone. Which minutes those are is asked first, of
//! the rows behind the positions of the log up to which all were seen: a sink writes a partition's
//! rows in their order, whatever its delay. Rows of one insert may come to be seen one shortly
//! after the other, so a position is taken for seen [`SETTLE`] later, once what lies behind the one
//! before it was looked at again.
//!
//! What is counted anew are those minutes, and the parts of minutes at a stretch's ends.

mod weight;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::clock;
use schemas::ids::TenantId;
use schemas::time::EventTime;
use serde::Deserialize;

use super::{Count, Of, SERVICES_MAX, grouped};
use crate::query::failure::QueryError;
use crate::query::range::Range;
use crate::query::server::Session;
use crate::query::tenant_query::{Table, TenantQuery};
use weight::Weight;

const MINUTE_US: i64 = 60_000_000;
/// Stretches that are longer are counted whole.
const LENGTH_MAX_US: i64 = 8 * 1_440 * MINUTE_US;
/// How long rows of one insert may take to be seen, all of them, with much to spare.
const SETTLE: Duration = Duration::from_secs(5);
/// How far behind a partition's newest row the first look at it goes.
const FIRST_MS: i64 = 3_600_000;
/// When all is counted anew: rows that have expired are counted until then.
const LIFE: Duration = Duration::from_secs(6 * 3_600);
/// Tenants and minutes that are kept.
const TENANTS_MAX: usize = 1_000;
const MINUTES_MAX: usize = 50_000;
/// Stretches that are counted anew apart from each other.
const RUNS_MAX: usize = 16;

/// The minutes of all tenants. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(in crate::query) struct Minutes {
    tenants: Arc<Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<Kept>>>>>,
    bytes: Arc<AtomicUsize>,
}

/// What is kept of a tenant.
struct Kept {
    born: Instant,
    /// Behind what rows are new, by partition.
    seen: BTreeMap<i64, Place>,
    /// What is seen once it has settled, and since when it waits for that.
    next: Option<(Instant, BTreeMap<i64, Place>)>,
    names: Names,
    /// By first instant, in microseconds.
    minutes: BTreeMap<i64, Minute>,
    weight: Weight,
}

/// A place in a partition: rows behind both of it are behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    offset: i64,
    appended_ms: i64,
}

/// Names by number: each stands in thousands of minutes.
#[derive(Default)]
struct Names {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
}

/// How many events, by what is counted and its name's number.
type Tally = HashMap<(Of, u32), u64>;

/// Events of a minute: how many by what they are.
#[derive(Clone, Default)]
struct Minute {
    span: Option<(i64, i64)>,
    counts: Vec<(Of, u32, u64)>,
}

/// New rows of a partition.
#[derive(Deserialize)]
struct Found {
    partition: i64,
    offset: i64,
    appended_ms: i64,
    minutes: Vec<i64>,
}

impl Minutes {
    /// The counts of a stretch in steps; `None` where they are not made of minutes.
    pub(super) async fn counts(
        &self,
        session: &Session,
        range: Range,
        step_ms: i64,
    ) -> Result<Option<Vec<Count>>, QueryError> {
        let span = (range.from.as_us(), range.to.as_us());
        if step_ms % 60_000 != 0 || span.1.saturating_sub(span.0) > LENGTH_MAX_US {
            return Ok(None);
        }
        let kept = self.of(session.tenant());
        let mut kept = kept.lock().await;
        let counted = kept.counts(session, span, step_ms * 1_000).await;
        kept.weigh();
        if kept.weight.is_too_much() {
            *kept = self.none();
        }
        match counted {
            Ok(counts) => Ok(Some(counts)),
            // Too many services for a count of each in each minute.
            Err(QueryError::TooMuch { .. }) => {
                *kept = self.none();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn of(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<Kept>> {
        // A map is never half changed: poisoning cannot have left it wrong.
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS_MAX && !tenants.contains_key(tenant) {
            tenants.clear();
        }
        let new = || Arc::new(tokio::sync::Mutex::new(self.none()));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(new))
    }

    fn none(&self) -> Kept {
        Kept::new(Arc::clone(&self.bytes))
    }
}

impl Kept {
    fn new(all: Arc<AtomicUsize>) -> Self {
        Self {
            born: clock::monotonic(),
            seen: BTreeMap::new(),
            next: None,
            names: Names::default(),
            minutes: BTreeMap::new(),
            weight: Weight::none(all),
        }
    }

    /// Counts what is kept, about.
    fn weigh(&mut self) {
        let counts = self.minutes.values().map(|minute| minute.counts.len());
        let counts: usize = counts.sum::<usize>() * size_of::<(Of, u32, u64)>();
        let minutes = self.minutes.len() * 2 * size_of::<(i64, Minute)>();
        self.weight.set(self.names.bytes + counts + minutes);
    }

    async fn counts(
        &mut self,
        session: &Session,
        (from_us, to_us): (i64, i64),
        step_us: i64,
    ) -> Result<Vec<Count>, QueryError> {
        if self.born.elapsed() > LIFE || self.minutes.len() > MINUTES_MAX {
            *self = Self::new(self.weight.all());
        }
        self.look(session).await?;
        let runs = self.missing(from_us, to_us);
        let mut fresh: BTreeMap<i64, Minute> = BTreeMap::new();
        if !runs.is_empty() {
            for count in session.rows::<Count>(&question(session, &runs)).await? {
                let minute = fresh.entry(count.start_us).or_default();
                minute.add(&count, &mut self.names);
            }
        }
        // What is whole is kept; what is cut is of this stretch alone.
        let mut cut = vec![];
        for (run_from, run_to) in runs {
            let mut start = floor(run_from, MINUTE_US);
            while start < run_to {
                let minute = fresh.remove(&start).unwrap_or_default();
                match start >= run_from && start + MINUTE_US <= run_to {
                    true => drop(self.minutes.insert(start, minute)),
                    false => cut.push((start, minute)),
                }
                start += MINUTE_US;
            }
        }
        let first = -(-from_us).div_euclid(MINUTE_US) * MINUTE_US;
        let last = floor(to_us, MINUTE_US);
        let whole = match first < last {
            true => Some(self.minutes.range(first..last)),
            false => None,
        };
        let cut = cut.iter().map(|(start, minute)| (start, minute));
        Ok(self
            .names
            .told(whole.into_iter().flatten().chain(cut), step_us))
    }

    /// Forgets the minutes into which something new came.
    async fn look(&mut self, session: &Session) -> Result<(), QueryError> {
        let mut found: Vec<Found> = vec![];
        if !self.seen.is_empty() {
            found = session.rows(&behind(session, &self.seen)).await?;
        }
        found.extend(
            session
                .rows::<Found>(&elsewhere(session, &self.seen))
                .await?,
        );
        let mut newest = self.seen.clone();
        for new in &found {
            for minute in &new.minutes {
                self.minutes.remove(minute);
            }
            let place = Place {
                offset: new.offset,
                appended_ms: new.appended_ms,
            };
            newest.insert(new.partition, place);
        }
        match self.next.take() {
            Some((since, places)) if since.elapsed() >= SETTLE => self.seen.extend(places),
            waiting => self.next = waiting,
        }
        if self.next.is_none() {
            self.next = Some((clock::monotonic(), newest));
        }
        for new in &found {
            self.seen.entry(new.partition).or_insert(Place {
                offset: -1,
                appended_ms: new.appended_ms - FIRST_MS,
            });
        }
        Ok(())
    }

    /// What of a stretch has to be counted: its ends where they cut a minute, and minutes that are
    /// not kept.
    fn missing(&self, from_us: i64, to_us: i64) -> Vec<(i64, i64)> {
        let mut runs: Vec<(i64, i64)> = vec![];
        let mut start = floor(from_us, MINUTE_US);
        while start < to_us {
            let part = (start.max(from_us), (start + MINUTE_US).min(to_us));
            let is_whole = part == (start, start + MINUTE_US);
            if !is_whole || !self.minutes.contains_key(&start) {
                match runs.last_mut() {
                    Some(last) if last.1 == part.0 => last.1 = part.1,
                    _ => runs.push(part),
                }
            }
            start += MINUTE_US;
        }
        match (runs.first(), runs.last()) {
            (Some(first), Some(last)) if runs.len() > RUNS_MAX => vec![(first.0, last.1)],
            _ => runs,
        }
    }
}

fn floor(us: i64, width_us: i64) -> i64 {
    us.div_euclid(width_us) * width_us
}

/// Rows behind what was seen, by partition.
fn behind(session: &Session, seen: &BTreeMap<i64, Place>) -> TenantQuery {
    let mut query = found(session);
    let first_ms = seen.values().map(|place| place.appended_ms).min();
    query.push(" AND _appended_at >= fromUnixTimestamp64Milli(");
    query.value(first_ms.unwrap_or(0)).push(", 'UTC') AND (0");
    for (partition, place) in seen {
        query.push(" OR _partition = ").value(*partition);
        query.push(" AND _offset > ").value(place.offset);
        query.push(" AND _appended_at >= fromUnixTimestamp64Milli(");
        query.value(place.appended_ms).push(", 'UTC')");
    }
    query.push(") GROUP BY _partition");
    query
}

/// Rows of partitions of which none was seen.
fn elsewhere(session: &Session, seen: &BTreeMap<i64, Place>) -> TenantQuery {
    let mut query = found(session);
    for partition in seen.keys() {
        query.push(" AND _partition != ").value(*partition);
    }
    query.push(" GROUP BY _partition");
    query
}

fn found(session: &Session) -> TenantQuery {
    let mut query = session.query("statistics_new");
    query.push(
        "SELECT toInt64(_partition) AS partition, max(_offset) AS offset, \
         toUnixTimestamp64Milli(max(_appended_at)) AS appended_ms, groupUniqArray(\
         toUnixTimestamp64Micro(occurred_at) - positiveModulo(\
         toUnixTimestamp64Micro(occurred_at), 60000000)) AS minutes",
    );
    query.rows_of(Table::EventsAsInserted);
    query
}

/// The counts of these stretches by minute.
fn question(session: &Session, runs: &[(i64, i64)]) -> TenantQuery {
    let mut query = session.query("statistics_minutes");
    grouped(&mut query, MINUTE_US, |query| {
        query.push(" AND (0");
        for (from_us, to_us) in runs {
            query.push(" OR occurred_at >= ");
            query.instant(EventTime::from_us(*from_us));
            query.push(" AND occurred_at < ");
            query.instant(EventTime::from_us(*to_us));
        }
        query.push(")");
    });
    query.push(" ((start_us, event_type), (start_us, severity), (start_us, service))");
    query
}

impl Minute {
    fn add(&mut self, count: &Count, names: &mut Names) {
        let (first, last) = self.span.unwrap_or((count.first_us, count.last_us));
        self.span = Some((first.min(count.first_us), last.max(count.last_us)));
        let name = names.number(&count.name);
        self.counts.push((count.of, name, count.n));
    }
}

impl Names {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.bytes += text.len() + 4 * size_of::<Arc<str>>();
        let (text, number): (Arc<str>, _) = (text.into(), self.texts.len() as u32);
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// Minutes put together to steps, as the server would tell them.
    fn told<'a>(
        &self,
        minutes: impl Iterator<Item = (&'a i64, &'a Minute)>,
        step_us: i64,
    ) -> Vec<Count> {
        let mut steps: BTreeMap<i64, (Tally, (i64, i64))> = BTreeMap::new();
        let mut services = Tally::new();
        for (start_us, minute) in minutes {
            let Some((first, last)) = minute.span else {
                continue;
            };
            let new = || (Tally::new(), (first, last));
            let (counts, span) = steps.entry(floor(*start_us, step_us)).or_insert_with(new);
            *span = (span.0.min(first), span.1.max(last));
            for (of, name, n) in &minute.counts {
                *counts.entry((*of, *name)).or_default() += n;
                if *of == Of::Service {
                    *services.entry((Of::ServiceInAll, *name)).or_default() += n;
                }
            }
        }
        let mut told = vec![];
        self.tell(&mut told, 0, (0, 0), services);
        for (start_us, (counts, span)) in steps {
            self.tell(&mut told, start_us, span, counts);
        }
        told
    }

    /// Appends the counts of a step, of services those with the most.
    fn tell(
        &self,
        told: &mut Vec<Count>,
        start_us: i64,
        (first_us, last_us): (i64, i64),
        counts: Tally,
    ) {
        let count = |((of, name), n): ((Of, u32), u64)| Count {
            of,
            start_us,
            name: self.texts[name as usize].to_string(),
            n,
            first_us,
            last_us,
        };
        let is_service = |((of, _), _): &((Of, u32), u64)| *of != Of::Type && *of != Of::Severity;
        let (mut services, others): (Vec<_>, Vec<_>) = counts.into_iter().partition(is_service);
        let text = |name: u32| &self.texts[name as usize];
        services.sort_by(|((_, a), n), ((_, b), m)| m.cmp(n).then(text(*a).cmp(text(*b))));
        services.truncate(SERVICES_MAX);
        told.extend(services.into_iter().chain(others).map(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(minutes: &[i64]) -> Kept {
        let mut kept = Kept::new(Arc::default());
        for minute in minutes {
            kept.minutes.insert(minute * MINUTE_US, Minute::default());
        }
        kept
    }

    #[test]
    fn what_is_cut_and_what_is_not_kept_is_counted() {
        let m = MINUTE_US;
        let check = |known: &[i64], from, to, expect: &[(i64, i64)]| {
            assert_eq!(kept(known).missing(from, to), expect, "{known:?}");
        };
        check(&[], 0, 3 * m, &[(0, 3 * m)]);
        check(&[0, 1, 2], 0, 3 * m, &[]);
        check(&[0, 2], 0, 3 * m, &[(m, 2 * m)]);
        check(&[0, 1, 2], 5, 3 * m - 5, &[(5, m), (2 * m, 3 * m - 5)]);
        check(&[0], 7, 9, &[(7, 9)]);
        check(&[-1], -m - 3, 0, &[(-m - 3, -m)]);
        let every_other: Vec<i64> = (0..100).filter(|n| n % 2 == 0).collect();
        check(&every_other, 0, 100 * m, &[(m, 100 * m)]);
    }

    #[test]
    fn minutes_with_many_names_weigh_much_and_are_not_kept() {
        let minutes = Minutes::default();
        let mut kept = minutes.none();
        kept.minutes.insert(0, Minute::default());
        kept.weigh();
        assert!(!kept.weight.is_too_much());
        let name = "s".repeat(1_000);
        for number in 0..40_000 {
            kept.names.number(&format!("{name}{number}"));
        }
        kept.weigh();
        assert!(kept.weight.is_too_much());
    }

    #[test]
    fn minutes_make_steps_and_the_services_with_the_most_are_named() {
        let mut names = Names::default();
        let mut minutes = vec![];
        for at in 0..10 {
            let mut minute = Minute::default();
            let count = |of, name: &str, n| Count {
                of,
                start_us: at * MINUTE_US,
                name: name.into(),
                n,
                first_us: at * MINUTE_US + 1,
                last_us: at * MINUTE_US + 2,
            };
            minute.add(&count(Of::Type, "trade", 60), &mut names);
            for service in 0..60 {
                let name = format!("s{service:02}");
                minute.add(
                    &count(Of::Service, &name, 1 + u64::from(service == 59)),
                    &mut names,
                );
            }
            minutes.push((at * MINUTE_US, minute));
        }
        let told = names.told(minutes.iter().map(|(at, m)| (at, m)), 5 * MINUTE_US);
        let of = |wanted| {
            told.iter()
                .filter(|count| count.of == wanted)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Of::ServiceInAll).len(), SERVICES_MAX);
        assert_eq!(
            (
                of(Of::ServiceInAll)[0].name.as_str(),
                of(Of::ServiceInAll)[0].n
            ),
            ("s59", 20)
        );
        assert_eq!(of(Of::Service).len(), 2 * SERVICES_MAX);
        let types = of(Of::Type);
        assert_eq!(
            (types.len(), types[1].n, types[1].start_us),
            (2, 300, 5 * MINUTE_US)
        );
        assert_eq!(
            (types[0].first_us, types[0].last_us),
            (1, 4 * MINUTE_US + 2)
        );
    }
}
