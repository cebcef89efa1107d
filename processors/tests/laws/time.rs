//! Repeats, silences and absences: what time may do to a market's candles, which is nothing.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use schemas::control::Limits;
use schemas::event::Event;

use crate::line::{BEGIN_MS, Candle, HOUR_MS, Line, MINUTE_MS, trade};

const MARKET: &str = "coinbase:BTC-USD";

/// A market's trades in order, one each `pace_ms`, that many.
fn market(count: u64, pace_ms: i64) -> Vec<Event> {
    let mut random = Rng::with_seed(7);
    let of = |id: u64| {
        let occurred_ms = BEGIN_MS + id as i64 * pace_ms;
        trade(
            MARKET,
            id,
            occurred_ms,
            random.i64(90..110),
            random.i64(1..9),
        )
    };
    (0..count).map(of).collect()
}

fn occurred_ms(event: &Event) -> i64 {
    event.occurred_at.as_us() / 1_000
}

/// Feeds each event when it happens, and the rest of the day's silence, so that all windows fire.
fn run_live(events: &[Event]) -> Line {
    let mut line = Line::new(Limits::default());
    for event in events {
        line.feed(occurred_ms(event) + 20, event);
    }
    line
}

fn end_of(line: &mut Line, last_ms: i64) -> BTreeMap<(String, i64, i64), Candle> {
    line.tick(last_ms + 26 * HOUR_MS);
    line.fired()
}

/// What comes after the trades that will be served again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    /// The market goes on, and so does its clock.
    Goes,
    /// After an hour the market falls silent; another one goes on.
    Silent,
    /// The market goes on, and all of it is appended within a minute.
    Fast,
}

impl Course {
    /// 21 hours of one trade each ten seconds, with the moments at which they are appended.
    fn arrivals(self) -> Vec<(i64, Event)> {
        let mut events = market(21 * 360, 10_000);
        if self == Self::Silent {
            let other = |event: &mut Event| event.subject = "coinbase:ETH-USD".into();
            events[360..].iter_mut().for_each(other);
        }
        let appended_ms = |event: &Event| match self {
            Self::Goes | Self::Silent => occurred_ms(event) + 20,
            Self::Fast => {
                BEGIN_MS + 22 * HOUR_MS + (occurred_ms(event) - BEGIN_MS) / (22 * MINUTE_MS)
            }
        };
        events.into_iter().map(|e| (appended_ms(&e), e)).collect()
    }
}

#[test]
fn repeats_after_minutes_and_hours_change_no_candle_of_any_length() {
    for course in [Course::Goes, Course::Silent, Course::Fast] {
        let arrivals = course.arrivals();
        let last_ms = arrivals[arrivals.len() - 1].0;
        let mut undisturbed = Line::new(Limits::default());
        for (at_ms, event) in &arrivals {
            undisturbed.feed(*at_ms, event);
        }
        let expected = end_of(&mut undisturbed, last_ms);
        let widths: BTreeSet<i64> = expected.keys().map(|key| key.1).collect();
        assert_eq!(widths.len(), 5, "every length has fired: {widths:?}");
        assert_eq!(undisturbed.counts().counted, arrivals.len() as u64);

        for after_ms in [11 * MINUTE_MS, 2 * HOUR_MS, 20 * HOUR_MS] {
            let mut line = Line::new(Limits::default());
            let mut again = arrivals.iter().map(|(_, event)| event).peekable();
            let mut repeat_count = 0;
            for (at_ms, event) in &arrivals {
                let upto_ms = occurred_ms(event) - after_ms;
                while let Some(old) = again.next_if(|old| occurred_ms(old) <= upto_ms) {
                    line.feed(*at_ms, old);
                    repeat_count += 1;
                }
                line.feed(*at_ms, event);
            }
            assert!(repeat_count > 300, "{repeat_count} trades were repeated");
            let of = format!("{course:?}, {after_ms} ms later");
            assert_eq!(end_of(&mut line, last_ms), expected, "{of}");
            let counts = line.counts();
            assert_eq!(counts.counted, arrivals.len() as u64, "{of}");
            assert_eq!(counts.late + counts.duplicate, repeat_count, "{of}");
        }
    }
}

#[test]
fn sixty_seconds_merged_are_the_minute_and_so_on_up() {
    let events = market(4_000, 700);
    let mut line = run_live(&events);
    let fired = end_of(&mut line, occurred_ms(&events[events.len() - 1]));
    let of_width = |width_ms: i64| {
        let of = fired.iter().filter(move |(key, _)| key.1 == width_ms);
        of.map(|(key, candle)| (key.2, candle.clone()))
            .collect::<BTreeMap<i64, Candle>>()
    };
    let seconds = of_width(1_000);
    assert!(seconds.len() > 2_000, "{} seconds", seconds.len());
    for width_ms in [MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, 24 * HOUR_MS] {
        let mut merged: BTreeMap<i64, Candle> = BTreeMap::new();
        for (start_ms, candle) in &seconds {
            merged
                .entry(start_ms.div_euclid(width_ms) * width_ms)
                .and_modify(|all| *all = all.then(candle))
                .or_insert_with(|| candle.clone());
        }
        assert_eq!(merged, of_width(width_ms), "{width_ms} ms");
    }
}

#[test]
fn a_silence_of_less_than_a_day_makes_nothing_late() {
    for silence_ms in [MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 23 * HOUR_MS] {
        let mut line = Line::new(Limits::default());
        let events = market(600, 500);
        let (before, after) = events.split_at(300);
        for event in before {
            line.feed(occurred_ms(event) + 20, event);
        }
        let silent_from_ms = occurred_ms(&before[299]);
        let mut at_ms = silent_from_ms;
        // Ticks go on: the process lives, and the windows fire.
        while at_ms < silent_from_ms + silence_ms {
            at_ms += 10_000;
            line.tick(at_ms);
        }
        // What was held back comes now, as old as it is.
        for event in after {
            line.feed(at_ms, event);
        }
        assert_eq!(line.counts().late, 0, "after {silence_ms} ms");
        assert_eq!(line.counts().counted, 600);
        let fired = end_of(&mut line, at_ms);
        let mut undisturbed = run_live(&events);
        assert_eq!(
            fired,
            end_of(&mut undisturbed, at_ms),
            "after {silence_ms} ms the candles are the same"
        );
    }
}

#[test]
fn a_broker_away_for_hours_makes_nothing_late() {
    for away_ms in [10 * MINUTE_MS, 3 * HOUR_MS, 9 * HOUR_MS] {
        let mut line = Line::new(Limits::default());
        let events = market(2_000, 20_000);
        let (from_ms, to_ms) = (BEGIN_MS + HOUR_MS, BEGIN_MS + HOUR_MS + away_ms);
        for event in &events {
            // Whoever produces holds back what it cannot send, and sends it when it can.
            let at_ms = occurred_ms(event) + 20;
            let at_ms = if (from_ms..to_ms).contains(&at_ms) {
                to_ms
            } else {
                at_ms
            };
            line.feed(at_ms, event);
        }
        assert_eq!(line.counts().late, 0, "after {away_ms} ms");
        let last_ms = occurred_ms(&events[events.len() - 1]);
        let mut undisturbed = run_live(&events);
        assert_eq!(
            end_of(&mut line, last_ms),
            end_of(&mut undisturbed, last_ms)
        );
    }
}

#[test]
fn beyond_the_cap_the_furthest_behind_is_forgotten_and_then_late_never_counted_twice() {
    let limits = Limits {
        dedup_ids_max: 64,
        ..Limits::default()
    };
    let mut line = Line::new(limits);
    // Both within their lateness: one market spreads over two minutes, the other over one instant.
    let spread = |id: u64| trade("coinbase:OLD-USD", id, BEGIN_MS + id as i64 * 3_000, 5, 1);
    let dense = |id: u64| trade("coinbase:NEW-USD", id, BEGIN_MS + 120_000, 5, 1);
    for id in 0..40 {
        line.feed(BEGIN_MS + 120_000 + id as i64, &spread(id));
    }
    for id in 0..25 {
        line.feed(BEGIN_MS + 121_000 + id as i64, &dense(id));
    }
    assert_eq!(line.counts().counted, 65, "the cap itself refuses nothing");
    // The oldest half minute of the old market went: 60 ids are left, less what else was in it.
    assert_eq!(
        runtime::step::Step::holdings(&line.step).ids,
        55,
        "ten trades, one each three seconds, lay in the slice that went"
    );
    for id in 0..40 {
        line.feed(BEGIN_MS + 122_000, &spread(id));
    }
    for id in 0..25 {
        line.feed(BEGIN_MS + 122_000, &dense(id));
    }
    let counts = line.counts();
    assert_eq!(
        (counts.counted, counts.late, counts.duplicate),
        (65, 10, 55)
    );
}
