//! The laws of `runtime::step::Step`: ticks that make no difference, and state that can be put
//! back.

use std::collections::BTreeMap;

use fastrand::Rng;
use processors::metrics::{Definitions, MetricsStep, NamedMeter};
use runtime::step::Step;
use schemas::control::Limits;
use schemas::event::Event;
use schemas::ids::Stream;
use schemas::meter::Field;

use crate::line::{BEGIN_MS, Line, Put, candles, place, trade, with_sketches};

const SEEDS: std::ops::Range<u64> = 0..60;

/// Moments and events: several subjects, some disorder, repeats, pauses and late ones.
fn stream(random: &mut Rng) -> Vec<(i64, Event)> {
    let mut now_ms = BEGIN_MS;
    let mut all: Vec<(i64, Event)> = vec![];
    for id in 0..random.u64(20..200) {
        now_ms += match random.u8(0..20) {
            0 => random.i64(0..400_000),
            _ => random.i64(0..900),
        };
        if random.u8(0..10) == 0 && !all.is_empty() {
            let again = all[random.usize(0..all.len())].1.clone();
            all.push((now_ms, again));
            continue;
        }
        let subject = format!("exchange:M{}-USD", random.u8(0..4));
        let behind_ms = match random.u8(0..12) {
            0 => random.i64(0..300_000),
            _ => random.i64(0..700),
        };
        // Now and then one whose product does not fit the sum of a window.
        let price = match random.u8(0..12) {
            0 => i64::MAX - random.i64(0..1_000),
            _ => random.i64(1..1_000),
        };
        let size = random.i64(1..50);
        let event = trade(&subject, id, now_ms - behind_ms, price, size);
        all.push((now_ms, event));
    }
    all
}

fn limits(random: &mut Rng) -> Limits {
    Limits {
        allowed_lateness_ms: [0, 2_000, 120_000][random.usize(0..3)],
        silence_max_ms: [60_000, 86_400_000][random.usize(0..2)],
        dedup_ids_max: [12, 4_000_000][random.usize(0..2)],
        ..Limits::default()
    }
}

fn sorted(mut puts: Vec<Put>) -> Vec<(String, Vec<u8>, Option<Vec<u8>>)> {
    let text = |(stream, key, value): Put| (format!("{stream:?}"), key, value);
    let mut sorted: Vec<_> = puts.drain(..).map(text).collect();
    sorted.sort();
    sorted
}

/// The latest value of each key of a state's log.
fn latest(log: &[Put]) -> BTreeMap<&[u8], &[u8]> {
    let mut latest = BTreeMap::new();
    for (_, key, value) in log {
        match value {
            Some(value) => latest.insert(key.as_slice(), value.as_slice()),
            None => latest.remove(key.as_slice()),
        };
    }
    latest
}

/// What a step holds, without how its memory happens to be numbered.
fn summary(line: &Line) -> String {
    format!("{:?} {:?}", line.step.counts(), line.step.holdings())
}

#[test]
fn ticks_between_two_moments_change_nothing() {
    for seed in SEEDS {
        let mut random = Rng::with_seed(seed);
        let limits = limits(&mut random);
        let stream = stream(&mut random);
        let (mut plain, mut ticked) = (Line::new(limits), Line::new(limits));
        let mut before_ms = BEGIN_MS;
        for (at_ms, event) in &stream {
            for _ in 0..random.u8(0..4) {
                before_ms = random.i64(before_ms..=*at_ms);
                ticked.tick(before_ms);
            }
            plain.feed(*at_ms, event);
            ticked.feed(*at_ms, event);
            before_ms = *at_ms;
        }
        assert_eq!(summary(&plain), summary(&ticked), "seed {seed}");
        assert_eq!(
            sorted(plain.puts),
            sorted(ticked.puts),
            "seed {seed}: what came out"
        );
    }
}

#[test]
fn a_step_restored_from_its_changes_goes_on_as_the_one_that_wrote_them() {
    for seed in SEEDS {
        let mut random = Rng::with_seed(seed);
        let limits = limits(&mut random);
        let stream = stream(&mut random);
        let mut line = Line::under(with_sketches(limits));
        let mut log: Vec<Put> = vec![];
        let cut = random.usize(1..=stream.len());
        let (before, after) = stream.split_at(cut);
        for (at_ms, event) in before {
            line.feed(*at_ms, event);
            if random.u8(0..5) == 0 {
                log.extend(line.changes());
            }
        }
        log.extend(line.changes());
        assert!(
            log.iter()
                .all(|(stream, ..)| *stream == Stream::MetricsState)
        );
        let mut restored = Line::under(with_sketches(limits));
        restored.step = restored_from(&latest(&log), &line, &mut random);
        assert_eq!(summary(&line), summary(&restored), "seed {seed}");
        restored.tick(before[before.len() - 1].0);
        line.puts.clear();
        for (at_ms, event) in after {
            line.feed(*at_ms, event);
            restored.feed(*at_ms, event);
        }
        // Their offsets differ, so what lies beside the metrics is compared by its count.
        let metrics = |line: &Line| {
            let is_metric =
                |stream: Stream| matches!(stream, Stream::Metrics | Stream::MetricsOpen);
            let puts = line.puts.iter().filter(|(stream, ..)| is_metric(*stream));
            sorted(puts.cloned().collect())
        };
        assert_eq!(summary(&line), summary(&restored), "seed {seed}");
        assert_eq!(metrics(&line), metrics(&restored), "seed {seed}");
        let state = |line: &mut Line| windows_after(&log, line.changes());
        let (own, put_back) = (state(&mut line), state(&mut restored));
        assert_eq!(
            own, put_back,
            "seed {seed}: the same windows are the same bytes"
        );
    }
}

/// The windows' records that compaction leaves, by what they say: groups may have other numbers.
fn windows_after(log: &[Put], changes: Vec<Put>) -> Vec<Vec<u8>> {
    let log: Vec<Put> = log.iter().cloned().chain(changes).collect();
    let is_window = |(key, _): &(&[u8], &[u8])| key[0] == b'w';
    let records = latest(&log).into_iter().filter(is_window);
    let mut windows: Vec<Vec<u8>> = records.map(|(_, value)| value.to_vec()).collect();
    windows.sort();
    windows
}

/// A step from the records that compaction leaves, in any order.
fn restored_from(latest: &BTreeMap<&[u8], &[u8]>, of: &Line, random: &mut Rng) -> MetricsStep {
    let mut step = MetricsStep::new(&place(), 1);
    let mut records: Vec<_> = latest.iter().collect();
    random.shuffle(&mut records);
    for (key, value) in records {
        step.restore(key, Some(value)).unwrap();
    }
    step.finish_restore(&of.definitions).unwrap();
    step
}

/// Slices of identities begin every 30 s: elsewhere their events would not be found again.
#[test]
fn identities_of_a_slice_that_begins_nowhere_are_refused() {
    let mut line = Line::new(Limits::default());
    line.feed(BEGIN_MS, &trade("exchange:M0-USD", 0, BEGIN_MS, 1, 1));
    let log = line.changes();
    let latest = latest(&log);
    let (key, value) = latest.iter().find(|(key, _)| key[0] == b'i').unwrap();
    let mut step = MetricsStep::new(&place(), 1);
    step.restore(key, Some(value)).unwrap();
    let mut elsewhere = key.to_vec();
    let last_of_start = 1 + 4 + 8 - 1;
    elsewhere[last_of_start] ^= 1;
    let error = step.restore(&elsewhere, Some(value)).unwrap_err();
    assert!(error.to_string().contains("begins nowhere"), "{error}");
}

/// What was written before cells were packed is read as well, and is the same state.
#[test]
fn a_step_restored_from_cells_that_are_not_packed_is_the_same() {
    for seed in SEEDS {
        let mut random = Rng::with_seed(seed);
        let limits = limits(&mut random);
        let mut line = Line::new(limits);
        let stream = stream(&mut random);
        let (before, after) = stream.split_at(stream.len() / 2);
        for (at_ms, event) in before {
            line.feed(*at_ms, event);
        }
        let log = line.changes();
        let packed = latest(&log);
        let unpacked: Vec<(Vec<u8>, Vec<u8>)> = packed
            .iter()
            .map(|(key, value)| (key.to_vec(), unpacked(key, value)))
            .collect();
        let unpacked: BTreeMap<&[u8], &[u8]> = unpacked
            .iter()
            .map(|(key, value)| (&key[..], &value[..]))
            .collect();
        let windows = |records: &BTreeMap<&[u8], &[u8]>| {
            let is_window = |(key, _): &(&&[u8], &&[u8])| key[0] == b'w';
            records
                .iter()
                .filter(is_window)
                .map(|(_, v)| v.len())
                .sum::<usize>()
        };
        assert!(windows(&unpacked) > windows(&packed), "seed {seed}");
        let mut restored = [&packed, &unpacked].map(|records| {
            let mut line_of = Line::new(limits);
            line_of.step = restored_from(records, &line, &mut Rng::with_seed(seed));
            line_of
        });
        for line in &mut restored {
            line.tick(before[before.len() - 1].0);
            after
                .iter()
                .for_each(|(at_ms, event)| line.feed(*at_ms, event));
        }
        let [one, other] = restored;
        assert_eq!(summary(&one), summary(&other), "seed {seed}");
        assert!(!one.puts.is_empty(), "seed {seed}: windows fire");
        assert_eq!(sorted(one.puts), sorted(other.puts), "seed {seed}");
    }
}

/// A record as it was written before, where it is a window's.
fn unpacked(key: &[u8], value: &[u8]) -> Vec<u8> {
    const PACKED: u8 = 4;
    let mut before = value.to_vec();
    before[0] = 1;
    if key[0] != b'w' || value[1] & PACKED == 0 {
        return before;
    }
    let mut at = 2;
    let revision = at..skip_long(value, &mut at);
    let word_count = read_long(value, &mut at) as usize;
    let length = read_long(value, &mut at) as usize;
    let (cells, carries) = value[at..].split_at(length);
    before.truncate(1);
    before.push(value[1] & !PACKED);
    before.extend_from_slice(&value[revision]);
    let mut bytes = word_count * 8 * 2;
    while bytes >= 0x80 {
        before.push(bytes as u8 | 0x80);
        bytes >>= 7;
    }
    before.push(bytes as u8);
    let (lengths, mut rest) = cells.split_at(word_count.div_ceil(2));
    for word in 0..word_count {
        let length = usize::from(lengths[word / 2] >> (word % 2 * 4) & 15);
        let (kept, others) = rest.split_at(length);
        before.extend_from_slice(kept);
        before.extend(std::iter::repeat_n(0, 8 - length));
        rest = others;
    }
    before.extend_from_slice(carries);
    before
}

/// Avro's form of a number.
fn read_long(bytes: &[u8], at: &mut usize) -> i64 {
    let (mut raw, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        raw |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (raw >> 1) as i64 ^ -((raw & 1) as i64);
        }
    }
}

fn skip_long(bytes: &[u8], at: &mut usize) -> usize {
    read_long(bytes, at);
    *at
}

/// Meters of these ids that all group by a tag, where one group has room.
fn rivals(ids: &[&str]) -> Definitions {
    let meter = |id: &&str| {
        let mut meter = schemas::meter::candles();
        meter.group_by.push(Field::Tag("side".into()));
        NamedMeter {
            id: (*id).to_owned(),
            version: 1,
            meter,
        }
    };
    Definitions {
        meters: ids.iter().map(meter).collect(),
        ..candles(Limits {
            groups_max: 1,
            ..Limits::default()
        })
    }
}

#[test]
fn the_last_place_for_a_group_goes_to_the_same_meter_whichever_came_first() {
    let mut event = trade("coinbase:BTC-USD", 1, BEGIN_MS, 5, 1);
    event.tags.insert("side".into(), "buy".into());
    let open_keys = |mut line: Line| {
        line.feed(BEGIN_MS, &event);
        line.tick(BEGIN_MS + 5_000);
        let text = |(_, key, _): Put| String::from_utf8(key).unwrap();
        line.puts.into_iter().map(text).collect::<Vec<_>>()
    };
    let together = open_keys(Line::under(rivals(&["a", "b"])));
    let mut later = Line::under(rivals(&["b"]));
    later.redefine(rivals(&["a", "b"]));
    let later = open_keys(later);
    for keys in [together, later] {
        let has = |key: &str| keys.iter().any(|k| k == key);
        assert!(has("a/subject=coinbase:BTC-USD,tags.side=buy"), "{keys:?}");
        let other = "b/subject=coinbase:BTC-USD,tags.side=__other__";
        assert!(has(other), "{keys:?}");
    }
}
