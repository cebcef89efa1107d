//! The second of two steps, fed with what the first one has committed, through crashes and
//! restores of its own: its windows hold every event that was counted, each once, whatever the
//! workers of the first went through and however their commits lie among each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use processors::metrics::partial::{Partial, Told};
use processors::metrics::{Definitions, MetricsStep, NamedMeter, TotalsStep};
use runtime::step::{Incoming, Origin, Output, Place, SHELL_KEY, Step};
use runtime::task::CommitMetadata;
use schemas::control::Limits;
use schemas::ids::{Stream, TenantId};
use schemas::late::Late;
use schemas::time::BrokerTime;
use schemas::wire::{Reader, avro};

use crate::broker::{Broker, PartialRecord, Partition};
use crate::exact;
use crate::facts::{Metric, WindowId, metric};
use crate::oracle::{Record, Spread, starts_us};
use crate::plan::Plan;
use crate::reading::incoming;

/// Windows compared with all samples, and those of which some came too late.
static EXACT: AtomicU64 = AtomicU64::new(0);
static CUT: AtomicU64 = AtomicU64::new(0);

/// A sum that came too late: meter, version, the group's values, start and events.
type LateSum = (String, i64, Vec<String>, i64, u64);

/// What came out, each with the record that it came from.
#[derive(Default, PartialEq, Eq, Debug)]
struct Outcome {
    metrics: Vec<(usize, Metric)>,
    late: Vec<(usize, LateSum)>,
}

/// Fails unless what the seeds have made was worth looking at.
pub(crate) fn assert_looked_at_enough() {
    let (exact, cut) = (EXACT.load(Ordering::Relaxed), CUT.load(Ordering::Relaxed));
    println!("windows of two steps: {exact} exact, {cut} without what came too late");
    assert!(exact > 1_000 && exact > cut, "{exact} exact, {cut} cut");
}

/// Checks what a tenant's second step makes of what the first has committed.
pub(crate) fn check(plan: &Plan, tenant: &TenantId, broker: &Broker, spread: &Spread) {
    let count = plan.partition_count(tenant);
    let own = broker.partitions.iter();
    let own = own.filter(|(place, _)| place.tenant == *tenant);
    let at_last: Vec<_> = own
        .flat_map(|(place, partition)| told_at_last(place, partition))
        .collect();
    let (first, last) = definitions(plan, tenant);
    let limits = [first.limits, last.limits];
    let mut all = Outcome::default();
    for partition in 0..count {
        let place = Place {
            tenant: tenant.clone(),
            partition,
        };
        let mut records = broker.partials.get(&place).cloned().unwrap_or_default();
        let here = at_last.iter().filter(|(of, _)| *of == partition);
        records.extend(here.map(|(_, record)| record.clone()));
        records.extend(final_clocks(count as u32));
        let course = Course {
            place: &place,
            count,
            records: &records,
            limits,
        };
        let straight = course.run(None);
        let seed = plan.seed ^ (partition as u64) << 32;
        let crashed = course.run(Some(Rng::with_seed(seed)));
        assert_eq!(straight, crashed, "{place:?}: a crash shows");
        check_revisions(&place, &straight);
        all.metrics.extend(straight.metrics);
        all.late.extend(straight.late);
    }
    let mut latest: BTreeMap<WindowId, Metric> = BTreeMap::new();
    for (_, metric) in all.metrics.into_iter().filter(|(_, m)| m.is_final) {
        latest.insert(metric.window.clone(), metric);
    }
    let late: Vec<LateSum> = all.late.into_iter().map(|(_, late)| late).collect();
    // What a meter that is no longer had open never fired.
    for named in last.meters.iter().filter(|named| named.meter.is_two_step()) {
        let is_capped = limits.iter().any(|limits| limits.groups_max < 1_000);
        compare(named, spread, (&latest, &late), is_capped);
    }
}

/// What the successor of a partition's worker tells at last: it has what was observed and not told.
fn told_at_last(place: &Place, partition: &Partition) -> Vec<(i32, PartialRecord)> {
    let Some(committed) = &partition.committed else {
        return vec![];
    };
    let metadata: CommitMetadata = committed.metadata.parse().unwrap();
    let mut step = MetricsStep::new(place, partition.count);
    let (mut definitions, mut reached) = (None, BrokerTime::MIN);
    for record in partition
        .state
        .iter()
        .filter(|record| record.pending.is_none())
    {
        match (record.key.first(), record.value.as_deref()) {
            (Some(&SHELL_KEY), Some([_, body @ ..])) => match record.key[1] {
                b'd' => definitions = Some(serde_json::from_slice::<Definitions>(body).unwrap()),
                _ => {
                    let mut reader: Reader<'_> = Reader::new(body);
                    let at = reader.long("state_at").unwrap();
                    assert!(at <= metadata.state_at);
                    reached = BrokerTime::from_ms(reader.long("clock").unwrap());
                }
            },
            (_, value) => step.restore(&record.key, value).unwrap(),
        }
    }
    step.finish_restore(&definitions.unwrap()).unwrap();
    let mut out = Output::default();
    let is_since = |record: &&Record| {
        let offset = record.offset;
        (metadata.state_at..committed.offset).contains(&offset)
    };
    step.advance(reached, &mut out);
    for record in partition.records().filter(is_since) {
        reached = reached.max(BrokerTime::from_ms(record.appended_ms));
        step.advance(reached, &mut out);
        step.observe_one(&incoming(record), &mut out);
    }
    step.advance(metadata.clock, &mut out);
    out.clear();
    step.advance(metadata.clock.plus_ms(1_000), &mut out);
    let partials = out
        .iter()
        .filter(|record| record.stream == Stream::MetricsPartials);
    let told = partials.map(|record| {
        let told = PartialRecord {
            appended_ms: i64::MAX,
            key: record.key.to_vec(),
            value: record.value.unwrap().to_vec(),
        };
        (record.partition.unwrap(), told)
    });
    told.collect()
}

/// The definitions in force first and last.
fn definitions<'a>(plan: &'a Plan, tenant: &TenantId) -> (&'a Definitions, &'a Definitions) {
    let at = plan
        .tenants
        .iter()
        .position(|(id, _)| id == tenant)
        .unwrap();
    let changes = plan.phases.iter().flat_map(|phase| &phase.changes);
    let mut own = changes.filter(|change| change.tenant == at);
    let first = &plan.definitions[at];
    (
        first,
        own.next_back().map_or(first, |change| &change.definitions),
    )
}

/// Every source has come to the end of time, and then a little further.
fn final_clocks(count: u32) -> Vec<PartialRecord> {
    let day_ms = 86_400_000;
    let clock = |(source, days): (u32, i64)| {
        let mut value = vec![1, b'c'];
        for number in [
            i64::from(source),
            i64::from(count),
            crate::plan::BEGIN_MS + days * day_ms,
        ] {
            avro::put_long(&mut value, number);
        }
        PartialRecord {
            appended_ms: i64::MAX,
            key: vec![],
            value,
        }
    };
    let days = [4_000, 4_001].into_iter();
    let all = days.flat_map(|days| (0..count).map(move |source| (source, days)));
    all.map(clock).collect()
}

/// One partition of `metrics.partials`.
struct Course<'a> {
    place: &'a Place,
    count: i32,
    records: &'a [PartialRecord],
    /// At the beginning, and from the middle on.
    limits: [Limits; 2],
}

/// What is in the log.
#[derive(Default)]
struct Committed {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    state_at: usize,
    limits: Option<Limits>,
    next: usize,
    outcome: Outcome,
}

impl Course<'_> {
    /// Feeds all records to a step; with `random` it crashes now and then, and goes on from what
    /// was committed.
    fn run(&self, mut random: Option<Rng>) -> Outcome {
        let middle = self.records.len() / 2;
        let mut log = Committed::default();
        let mut step = self.begin();
        let mut pending: Vec<(usize, Output)> = vec![];
        let mut at = 0;
        while at < self.records.len() {
            let mut must_flush = false;
            if at == middle && log.limits != Some(self.limits[1]) {
                let mut out = Output::default();
                step.redefine(&self.limits[1], &mut out);
                pending.push((at, out));
                must_flush = true;
            }
            let limits = self.limits[usize::from(at >= middle)];
            if !must_flush && random.as_mut().is_some_and(|random| random.u8(0..4) == 0) {
                let random = random.as_mut().unwrap();
                at = self.observe_in_parts(&mut step, at, &mut log, (&mut pending, limits), random);
            } else if !must_flush {
                let mut out = Output::default();
                self.observe(&mut step, at, &mut out);
                pending.push((at, out));
                at += 1;
            }
            let act = random.as_mut().map_or(0, |random| random.u8(0..40));
            match act {
                _ if must_flush || act == 1 || log.limits.is_none() => {
                    flush(&mut step, &mut log, limits);
                    log.state_at = at;
                    commit(&mut log, &mut pending, at);
                }
                2..6 => commit(&mut log, &mut pending, at),
                6 => {
                    pending.clear();
                    step = self.restore(&log);
                    at = log.next;
                }
                _ => {}
            }
        }
        commit(&mut log, &mut pending, at);
        log.outcome.metrics.sort();
        log.outcome.late.sort();
        log.outcome
    }

    fn begin(&self) -> TotalsStep {
        let mut step = TotalsStep::new(self.place, self.count);
        step.redefine(&self.limits[0], &mut Output::default());
        step
    }

    fn restore(&self, log: &Committed) -> TotalsStep {
        let Some(limits) = &log.limits else {
            return self.begin();
        };
        let mut step = TotalsStep::new(self.place, self.count);
        for (key, value) in &log.state {
            step.restore(key, Some(value)).unwrap();
        }
        step.finish_restore(limits).unwrap();
        for at in log.state_at..log.next {
            self.observe(&mut step, at, &mut Output::default());
        }
        step
    }

    /// A record whose doings are parted by commits, with crashes between them; how far that got.
    fn observe_in_parts(
        &self,
        step: &mut TotalsStep,
        mut at: usize,
        log: &mut Committed,
        (pending, limits): (&mut Vec<(usize, Output)>, Limits),
        random: &mut Rng,
    ) -> usize {
        let record = self.incoming(at);
        let mut out = Output::default();
        step.advance(record.appended_at, &mut out);
        let mut reads = vec![];
        step.read(std::slice::from_ref(&record), &mut reads);
        step.observe(&record, &reads[0], &mut out);
        pending.push((at, out));
        at += 1;
        let mut is_parted = false;
        while step.is_behind() {
            let mut out = Output::default();
            step.catch_up(&mut out);
            pending.push((at - 1, out));
            let act = random.u8(0..12);
            if act == 0 && log.limits.is_some() {
                is_parted = step.is_behind();
                flush(step, log, limits);
                log.state_at = at;
                commit(log, pending, at);
            } else if act == 1 {
                pending.clear();
                *step = self.restore(log);
                at = log.next;
            }
        }
        if is_parted {
            flush(step, log, limits);
            log.state_at = at;
            commit(log, pending, at);
        }
        at
    }

    fn observe(&self, step: &mut TotalsStep, at: usize, out: &mut Output) {
        let record = self.incoming(at);
        step.advance(record.appended_at, out);
        step.observe_one(&record, out);
    }

    fn incoming(&self, at: usize) -> Incoming<'_> {
        let record = &self.records[at];
        Incoming {
            offset: at as i64,
            appended_at: BrokerTime::from_ms(record.appended_ms),
            key: Some(&record.key),
            value: Some(&record.value),
            origin: Origin::Unknown,
        }
    }
}

fn flush(step: &mut TotalsStep, log: &mut Committed, limits: Limits) {
    let mut changes = Output::default();
    step.drain_changes(&mut changes);
    for record in changes.iter() {
        assert_eq!(record.stream, Stream::MetricsPartialsState);
        match record.value {
            Some(value) => log.state.insert(record.key.to_vec(), value.to_vec()),
            None => log.state.remove(record.key),
        };
    }
    log.limits = Some(limits);
}

fn commit(log: &mut Committed, pending: &mut Vec<(usize, Output)>, at: usize) {
    for (from, out) in pending.drain(..) {
        for record in out.iter() {
            let value = record.value.unwrap();
            match record.stream {
                Stream::Metrics => {
                    let metric = metric(record.key, value, true);
                    log.outcome.metrics.push((from, metric));
                }
                Stream::MetricsOpen => {
                    let metric = metric(record.key, value, false);
                    log.outcome.metrics.push((from, metric));
                }
                Stream::Late => log.outcome.late.push((from, late(value))),
                stream => panic!("the step writes to {stream:?}"),
            }
        }
    }
    log.next = at;
}

/// A late sum, as it can be read from its row.
fn late(value: &[u8]) -> LateSum {
    let late = Late::decode(value).unwrap();
    assert_eq!(late.event_type.as_str(), "partial");
    let Told::Sum(sum) = Partial::decode(late.event).unwrap().told else {
        panic!("nothing else is late");
    };
    assert_eq!(late.event_id.as_str(), sum.event_count.to_string());
    assert_eq!(late.occurred_at.as_us(), sum.start_us);
    assert!(late.occurred_at < late.limit_at);
    let values = sum.values.iter().map(|value| (*value).to_owned()).collect();
    let (meter, count) = (sum.meter.to_owned(), sum.event_count);
    (meter, sum.version, values, sum.start_us, count)
}

/// The revisions of a window are 1, 2, 3…, and its events never become fewer.
fn check_revisions(place: &Place, outcome: &Outcome) {
    let mut last: BTreeMap<&WindowId, &Metric> = BTreeMap::new();
    for (_, metric) in &outcome.metrics {
        let before = last.insert(&metric.window, metric);
        let revision = before.map_or(0, |before| before.revision);
        let count = before.map_or(0, |before| before.event_count);
        assert!(
            metric.revision == revision + i64::from(metric.is_final) && metric.event_count >= count,
            "{place:?}: {metric:?} after {before:?}"
        );
    }
}

/// All samples of each window of a meter, by a plain grouping.
fn expected(named: &NamedMeter, spread: &Spread) -> BTreeMap<WindowId, Vec<exact::Sample>> {
    let key = (named.id.clone(), named.version);
    let names = || named.meter.group_by.iter().map(ToString::to_string);
    let mut expected: BTreeMap<WindowId, Vec<exact::Sample>> = BTreeMap::new();
    let own = spread
        .samples
        .iter()
        .filter(|((meter, _), _)| *meter == key);
    for ((_, values), samples) in own {
        for window in &named.meter.windows {
            for sample in samples {
                for start_us in starts_us(*window, sample.time_us) {
                    let id = WindowId {
                        meter: named.id.clone(),
                        version: named.version,
                        labels: names().zip(values.iter().cloned()).collect(),
                        width_ms: window.width_ms(),
                        start_us,
                    };
                    expected.entry(id).or_default().push(sample.clone());
                }
            }
        }
    }
    expected
}

/// Compares a meter's windows with a plain grouping of all that was counted.
fn compare(
    named: &NamedMeter,
    spread: &Spread,
    (latest, late): (&BTreeMap<WindowId, Metric>, &[LateSum]),
    is_capped: bool,
) {
    let key = (named.id.clone(), named.version);
    let expected = expected(named, spread);
    let is_own = |id: &WindowId| (&id.meter, id.version) == (&key.0, key.1);
    let found = || latest.iter().filter(|(id, _)| is_own(id));
    let late_in = |id: &WindowId, values: Option<&[String]>| -> u64 {
        let is_in = |late: &&LateSum| {
            let end_us = id.start_us + id.width_ms * 1_000;
            (&late.0, late.1) == (&key.0, key.1)
                && (id.start_us..end_us).contains(&late.3)
                && values.is_none_or(|values| values == late.2)
        };
        late.iter().filter(is_in).map(|late| late.4).sum()
    };
    // Whatever groups there are: no event of a stretch of time is there twice, or gone.
    let mut balance: BTreeMap<(i64, i64), (WindowId, i64)> = BTreeMap::new();
    let mut put = |id: &WindowId, count: i64| {
        let key = (id.width_ms, id.start_us);
        balance.entry(key).or_insert((id.clone(), 0)).1 += count;
    };
    expected
        .iter()
        .for_each(|(id, samples)| put(id, samples.len() as i64));
    found().for_each(|(id, metric)| put(id, -(metric.event_count as i64)));
    for (id, left) in balance.values() {
        assert_eq!(*left, late_in(id, None) as i64, "events of {id:?}");
    }
    if is_capped {
        return;
    }
    for (id, _) in found() {
        assert!(expected.contains_key(id), "{id:?} is of no event");
    }
    for (id, samples) in &expected {
        let values: Vec<String> = id.labels.iter().map(|(_, value)| value.clone()).collect();
        let late_count = late_in(id, Some(&values));
        let metric = latest.get(id);
        let count = metric.map_or(0, |metric| metric.event_count);
        assert_eq!(count + late_count, samples.len() as u64, "{id:?}");
        let Some(metric) = metric.filter(|_| late_count == 0) else {
            CUT.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        EXACT.fetch_add(1, Ordering::Relaxed);
        let (values, overflow) = exact::results(samples, &named.meter.aggregates);
        assert_eq!(
            (&metric.values, metric.overflow),
            (&values, overflow),
            "{id:?}"
        );
        let sketches = exact::sketches(samples, &named.meter.aggregates);
        assert_eq!(metric.sketches, sketches, "{id:?}");
        assert!(!metric.deleted && metric.window_end_us.is_none());
        assert!(!(metric.partial && named.version == 1), "{id:?} is whole");
    }
}
