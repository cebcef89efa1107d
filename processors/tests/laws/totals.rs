//! Meters of two steps: what the partitions' sums come to, and when.

use processors::metrics::partial::{Partial, Told};
use processors::metrics::{Definitions, MetricsStep, NamedMeter, TotalsStep};
use runtime::step::{Incoming, Origin, Output, Place, Step};
use schemas::control::Limits;
use schemas::event::Event;
use schemas::ids::Stream;
use schemas::late::Late;
use schemas::meter::{Aggregate, Field, Function, Meter, Operand, Window};
use schemas::metric::MetricView;
use schemas::murmur2::partition_of;
use schemas::time::BrokerTime;

use crate::line::{BEGIN_MS, HOUR_MS, MINUTE_MS, Put, place, trade};

/// Both steps over two partitions.
struct Both {
    first: [MetricsStep; 2],
    second: [TotalsStep; 2],
    next: i64,
    puts: Vec<Put>,
}

/// A fired window: version, start since the beginning, revision, events, whether it is partial.
type Fired = (i64, i64, i64, u64, bool);

fn meter(version: i64, windows_ms: &[i64]) -> NamedMeter {
    let tumbling = |width_ms: &i64| Window::Tumbling {
        width_ms: *width_ms,
    };
    let meter = Meter {
        group_by: vec![Field::EventType],
        windows: windows_ms.iter().map(tumbling).collect(),
        aggregates: vec![Aggregate::new("sum", Function::Sum, Operand::Value)],
        ..schemas::meter::candles()
    };
    assert_eq!(meter.faults(), Vec::<String>::new());
    NamedMeter {
        id: "all".into(),
        version,
        meter,
    }
}

fn definitions(meters: Vec<NamedMeter>) -> Definitions {
    Definitions {
        limits: Limits::default(),
        direct_producers: false,
        meters,
    }
}

/// A subject whose events lie in that partition.
fn subject(partition: i32, n: u32) -> String {
    let mut names = (0..).map(|at| format!("s{n}-{at}"));
    let is_there = |name: &String| partition_of(name.as_bytes(), 2) == partition;
    names.find(is_there).unwrap()
}

/// An event of a partition's subject, so long after the beginning.
fn event(partition: i32, n: u32, ms: i64) -> Event {
    trade(&subject(partition, n), ms as u64, BEGIN_MS + ms, 1, 1)
}

impl Both {
    fn new(definitions: &Definitions) -> Self {
        let at = |partition| Place {
            partition,
            ..place()
        };
        let mut both = Self {
            first: [0, 1].map(|partition| MetricsStep::new(&at(partition), 2)),
            second: [0, 1].map(|partition| TotalsStep::new(&at(partition), 2)),
            next: 0,
            puts: vec![],
        };
        for step in &mut both.second {
            step.redefine(&definitions.limits, &mut Output::default());
        }
        both.redefine(definitions);
        both
    }

    /// Takes definitions into force in both partitions of the first step.
    fn redefine(&mut self, definitions: &Definitions) {
        (0..2).for_each(|partition| self.redefine_one(partition, definitions));
    }

    /// As the shell does it: with a flush.
    fn redefine_one(&mut self, partition: usize, definitions: &Definitions) {
        let mut out = Output::default();
        self.first[partition].redefine(definitions, &mut out);
        self.first[partition].drain_changes(&mut out);
        self.pass_on(&out);
    }

    /// Feeds an event that is appended so long after the beginning.
    fn feed(&mut self, now_ms: i64, event: &Event) {
        let mut value = vec![];
        event.encode(&mut value);
        let partition = partition_of(event.subject.as_bytes(), 2) as usize;
        let appended_at = BrokerTime::from_ms(BEGIN_MS + now_ms);
        let mut out = Output::default();
        self.first[partition].advance(appended_at, &mut out);
        let record = Incoming {
            offset: self.next,
            appended_at,
            key: Some(event.subject.as_bytes()),
            value: Some(&value),
            origin: Origin::Unknown,
        };
        self.first[partition].observe_one(&record, &mut out);
        self.next += 1;
        self.pass_on(&out);
    }

    /// Tells a partition of the first step what time it is, as often as it likes to know.
    fn tick(&mut self, partition: usize, now_ms: i64) {
        let mut out = Output::default();
        let now = BrokerTime::from_ms(BEGIN_MS + now_ms);
        self.first[partition].advance(now, &mut out);
        self.pass_on(&out);
    }

    fn tick_both(&mut self, now_ms: i64) {
        (0..2).for_each(|partition| self.tick(partition, now_ms));
    }

    fn pass_on(&mut self, out: &Output) {
        for record in out.iter() {
            if record.stream != Stream::MetricsPartials {
                continue;
            }
            let mut out = Output::default();
            let second = &mut self.second[record.partition.unwrap() as usize];
            let incoming = Incoming {
                offset: self.next,
                appended_at: BrokerTime::from_ms(7),
                key: Some(record.key),
                value: record.value,
                origin: Origin::Unknown,
            };
            second.observe_one(&incoming, &mut out);
            self.next += 1;
            self.puts.extend(out.iter().map(|put| {
                let value = put.value.map(<[u8]>::to_vec);
                (put.stream, put.key.to_vec(), value)
            }));
        }
    }

    /// What has fired, in order.
    fn fired(&self) -> Vec<Fired> {
        let metrics = self.puts.iter().filter(|put| put.0 == Stream::Metrics);
        let fired = metrics.map(|(_, _, value)| {
            let view = MetricView::decode(value.as_ref().unwrap()).unwrap();
            (
                view.meter_version,
                view.window_start.as_us() / 1_000 - BEGIN_MS,
                view.revision,
                view.event_count,
                view.partial,
            )
        });
        fired.collect()
    }

    fn late_count(&self) -> u64 {
        self.second.iter().map(|step| step.counts().late).sum()
    }

    fn window_count(&self) -> u64 {
        self.second.iter().map(|step| step.holdings().windows).sum()
    }
}

#[test]
fn a_window_fires_when_the_last_partition_has_come_so_far() {
    let mut both = Both::new(&definitions(vec![meter(1, &[1_000])]));
    both.feed(0, &event(0, 0, 0));
    both.feed(20, &event(0, 1, 20));
    both.tick(0, HOUR_MS);
    assert_eq!(both.fired(), [], "nobody knows of the other partition");
    both.feed(900, &event(1, 0, 900));
    both.tick(1, 1_499);
    assert_eq!(
        both.fired(),
        [],
        "it could still have an event of that second"
    );
    both.tick(1, 1_750);
    assert_eq!(both.fired(), [(1, 0, 1, 3, false)]);
    // Whoever comes now corrects it.
    both.feed(1_800, &event(1, 1, 950));
    both.tick(1, 2_000);
    assert_eq!(both.fired()[1..], [(1, 0, 2, 4, false)]);
    // A partition that never had an event tells its clock as well.
    let mut both = Both::new(&definitions(vec![meter(1, &[1_000])]));
    both.feed(0, &event(0, 0, 0));
    both.tick_both(10);
    both.tick_both(1_499);
    assert_eq!(both.fired(), []);
    both.tick_both(1_750);
    assert_eq!(both.fired(), [(1, 0, 1, 1, false)]);
}

#[test]
fn a_sum_behind_what_has_left_is_late_as_a_whole() {
    let mut both = Both::new(&definitions(vec![meter(1, &[1_000])]));
    both.tick_both(0);
    for minute in 0..5 {
        let ms = minute * MINUTE_MS;
        both.feed(ms, &event(0, 0, ms));
        both.tick_both(ms + 2_000);
    }
    // Those of the first two minutes have left: the only subject is two minutes ahead of them.
    assert_eq!((both.fired().len(), both.window_count()), (5, 3));
    both.feed(250_000, &event(1, 0, 500));
    both.feed(250_010, &event(1, 0, 510));
    both.tick_both(251_000);
    assert_eq!((both.fired().len(), both.late_count()), (5, 1));
    let late = both.puts.iter().find(|put| put.0 == Stream::Late).unwrap();
    let late = Late::decode(late.2.as_ref().unwrap()).unwrap();
    let said = (late.event_type.as_str(), late.event_id.as_str());
    assert_eq!(said, ("partial", "2"));
    assert_eq!(late.subject.as_str(), "all/event_type=trade");
    assert_eq!(late.topic.as_str(), "pulse.laws.metrics.partials");
    let limit_ms = late.limit_at.as_ms() - BEGIN_MS;
    assert_eq!((late.occurred_at.as_ms() - BEGIN_MS, limit_ms), (0, 61_000));
    let Told::Sum(sum) = Partial::decode(late.event).unwrap().told else {
        panic!("the sum is whole");
    };
    assert_eq!((sum.meter, sum.event_count), ("all", 2));
    // What is not behind the floor corrects the window that it belongs to.
    both.feed(252_000, &event(1, 0, 2 * MINUTE_MS + 5));
    both.tick_both(253_000);
    let minute = 2 * MINUTE_MS;
    assert_eq!(both.fired()[5..], [(1, minute, 2, 2, false)]);
}

#[test]
fn a_partition_that_fell_silent_or_is_years_behind_holds_nothing_up() {
    let mut both = Both::new(&definitions(vec![meter(1, &[MINUTE_MS])]));
    both.tick_both(0);
    both.feed(1, &event(1, 0, 1));
    let hours = 30;
    let years_ms = 9 * 365 * 24 * HOUR_MS;
    for hour in 0..hours {
        let ms = hour * HOUR_MS;
        both.feed(ms, &event(0, 0, ms));
        if hour == 10 {
            // A subject that is new there begins with an old event.
            both.feed(ms + 1, &event(1, 7, ms - years_ms));
        }
        both.tick_both(ms + 2_000);
        // The windows of the last minutes stay for what comes late.
        assert_eq!(both.window_count(), 1, "after {hour} hours");
        both.tick_both(ms + 10 * MINUTE_MS);
        assert_eq!(both.fired().len(), hour as usize + 1, "after {hour} hours");
    }
    both.tick_both((hours + 24) * HOUR_MS);
    assert_eq!(both.window_count(), 0, "nobody had an event for a day");
}

#[test]
fn a_changed_meter_begins_anew_when_all_partitions_have_it() {
    let mut both = Both::new(&definitions(vec![meter(1, &[10_000])]));
    both.tick_both(0);
    both.feed(100, &event(0, 0, 100));
    both.feed(5_000, &event(1, 0, 5_000));
    both.tick_both(5_100);
    let changed = definitions(vec![meter(2, &[10_000])]);
    both.redefine_one(0, &changed);
    both.feed(5_200, &event(0, 0, 5_200));
    // The other still counts for the old one, which is over.
    both.feed(6_000, &event(1, 0, 6_000));
    both.tick_both(12_000);
    assert_eq!(
        both.fired(),
        [],
        "the old one never fires, the new one not yet"
    );
    both.redefine_one(1, &changed);
    both.feed(12_500, &event(1, 0, 12_500));
    both.tick_both(30_000);
    // Of the first window what was counted for the old one is missing, and of the second nothing.
    assert_eq!(both.fired(), [(2, 0, 1, 1, true), (2, 10_000, 1, 1, false)]);
    both.redefine(&definitions(vec![]));
    both.feed(30_500, &event(0, 0, 30_500));
    both.tick_both(60_000);
    assert_eq!((both.fired().len(), both.window_count()), (2, 0));
    let told = both.first.iter().all(|step| step.tells_at().is_none());
    assert!(told, "without such a meter no clock is told");
}

#[test]
fn beyond_their_cap_groups_without_windows_make_room_and_then_one_stands_for_all() {
    let mut by_id = meter(1, &[1_000]);
    by_id.meter.group_by = vec![Field::Tag("id".into())];
    let mut few = definitions(vec![by_id]);
    // Two in each partition.
    few.limits.groups_max = 4;
    let mut both = Both::new(&few);
    both.tick_both(0);
    for n in 0..40 {
        both.feed(n, &event((n % 2) as i32, 0, n));
    }
    both.tick_both(3_000);
    let groups = |both: &Both| -> Vec<u64> {
        let held = both.second.iter().map(|step| step.holdings().subjects);
        held.collect()
    };
    assert_eq!(groups(&both), [3, 3], "two, and the one for all others");
    let counted = |both: &Both| both.fired().iter().map(|fired| fired.3).sum::<u64>();
    assert_eq!((both.fired().len(), counted(&both)), (6, 40));
    // After a day they have no windows, and new ones take their places.
    both.tick_both(30 * HOUR_MS);
    assert_eq!(both.window_count(), 0);
    for n in 0..4 {
        let ms = 30 * HOUR_MS + 10 * MINUTE_MS + n;
        both.feed(ms, &event((n % 2) as i32, 0, ms));
    }
    both.tick_both(31 * HOUR_MS);
    assert_eq!(counted(&both), 44);
    assert!(groups(&both).into_iter().all(|count| count <= 4));
    assert_eq!(both.late_count(), 0);
}
