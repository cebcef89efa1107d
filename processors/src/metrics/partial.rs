//! What the first step of a meter of two tells the second, on `metrics.partials`.
//!
//! | kind | what it is | and behind source and source count |
//! |---|---|---|
//! | `b` | a meter is in force at the source from here on | its definition, until when its windows are partial |
//! | `e` | it is no longer | id, version |
//! | `s` | the sum of a group's events of one stretch of event time | meter, version, start, events, seen, at, group, cells |
//! | `c` | the source's clock: all that was appended before it has been told | milliseconds |
//!
//! A source is a partition of `events`. It tells each partition of `metrics.partials` the same of
//! its meters and its clock, and each group's sums to one of them, all in the order of its log. So
//! whoever reads one of these partitions needs nothing else.

use schemas::time::{BrokerTime, EventTime};
use schemas::wire::{DecodeError, Reader, avro};

use super::state::{put_cells, read_cells};
use super::takeover::Whole;

/// First byte of each record; another one is another format.
const FORMAT: u8 = 1;

/// A record of `metrics.partials`.
#[derive(Clone, Debug)]
pub struct Partial<'a> {
    /// The partition of `events` that it comes from.
    pub source: u32,
    /// How many partitions of `events` there are.
    pub source_count: u32,
    /// What it says.
    pub told: Told<'a>,
}

/// What a record says.
#[derive(Clone, Debug)]
pub enum Told<'a> {
    /// A meter is in force at the source from here on.
    Begun {
        /// The meter with its id and version, as JSON.
        meter: &'a [u8],
        /// Its windows that start at or before this may lack events from before it.
        partial_until: EventTime,
    },
    /// A meter is no longer in force at the source.
    Ended {
        /// Its id.
        id: &'a str,
        /// Its version.
        version: i64,
    },
    /// Events of a group.
    Sum(Sum<'a>),
    /// The source has told all that was appended before this.
    Clock(BrokerTime),
}

/// Events of one group and one stretch of event time, added up.
#[derive(Clone, Debug)]
pub struct Sum<'a> {
    /// The meter's id.
    pub meter: &'a str,
    /// The meter's version.
    pub version: i64,
    /// Where the stretch begins, in microseconds; it is as long as the meter's pieces.
    pub start_us: i64,
    /// How many events.
    pub event_count: u64,
    /// The highest of the lower of (occurred_at, append time).
    pub seen: EventTime,
    /// The append time of the event that set it.
    pub at: BrokerTime,
    /// The values of the meter's group-by, in its order.
    pub values: Vec<&'a str>,
    /// The cells of a window as long as the meter's pieces.
    pub(super) cells: Whole,
}

/// Writes the head of every record.
fn put_head(out: &mut Vec<u8>, kind: u8, (source, source_count): (u32, u32)) {
    out.extend([FORMAT, kind]);
    avro::put_long(out, i64::from(source));
    avro::put_long(out, i64::from(source_count));
}

/// Writes that a meter is in force.
pub(super) fn put_begun(
    out: &mut Vec<u8>,
    source: (u32, u32),
    meter: &[u8],
    partial_until: EventTime,
) {
    put_head(out, b'b', source);
    avro::put_bytes(out, meter);
    avro::put_long(out, partial_until.as_us());
}

/// Writes that a meter is in force no longer.
pub(super) fn put_ended(out: &mut Vec<u8>, source: (u32, u32), id: &str, version: i64) {
    put_head(out, b'e', source);
    avro::put_bytes(out, id.as_bytes());
    avro::put_long(out, version);
}

/// Writes the source's clock.
pub(super) fn put_clock(out: &mut Vec<u8>, source: (u32, u32), clock: BrokerTime) {
    put_head(out, b'c', source);
    avro::put_long(out, clock.as_ms());
}

/// Writes a sum.
pub(super) fn put_sum(out: &mut Vec<u8>, source: (u32, u32), sum: &Sum<'_>) {
    put_head(out, b's', source);
    avro::put_bytes(out, sum.meter.as_bytes());
    avro::put_long(out, sum.version);
    avro::put_long(out, sum.start_us);
    avro::put_long(out, sum.event_count as i64);
    avro::put_long(out, sum.seen.as_us());
    avro::put_long(out, sum.at.as_ms());
    avro::put_long(out, sum.values.len() as i64);
    for value in &sum.values {
        avro::put_bytes(out, value.as_bytes());
    }
    put_cells(out, &sum.cells);
}

const fn invalid(field: &'static str, reason: &'static str) -> DecodeError {
    DecodeError::Invalid { field, reason }
}

impl<'a> Partial<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// Bytes that no first step wrote; never a panic, whatever they are.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let [FORMAT, kind, body @ ..] = value else {
            return Err(invalid("format", "1, and a kind behind it"));
        };
        let mut reader: Reader<'a> = Reader::new(body);
        let r = &mut reader;
        let number = |number: i64| u32::try_from(number).ok();
        let source = number(r.long("source")?);
        let source_count = number(r.long("source_count")?);
        let (Some(source), Some(source_count)) = (source, source_count) else {
            return Err(invalid("source", "a partition of events"));
        };
        if source >= source_count || source_count > SOURCES_MAX {
            return Err(invalid("source", "below the count of sources"));
        }
        let told = match kind {
            b'b' => Told::Begun {
                meter: r.bytes("meter")?,
                partial_until: EventTime::from_us(r.long("partial_until")?),
            },
            b'e' => Told::Ended {
                id: r.text("meter")?.as_str(),
                version: r.long("version")?,
            },
            b's' => Told::Sum(Sum::read(r)?),
            b'c' => Told::Clock(BrokerTime::from_ms(r.long("clock")?)),
            _ => return Err(invalid("kind", "b, e, s or c")),
        };
        reader.end()?;
        Ok(Self {
            source,
            source_count,
            told,
        })
    }
}

/// More partitions than a topic has.
const SOURCES_MAX: u32 = 1 << 20;

impl<'a> Sum<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let meter = r.text("meter")?.as_str();
        let version = r.long("version")?;
        let start_us = r.long("start")?;
        let event_count = u64::try_from(r.long("event_count")?);
        let event_count =
            event_count.map_err(|_| invalid("event_count", "a count is not negative"))?;
        let seen = EventTime::from_us(r.long("seen")?);
        let at = BrokerTime::from_ms(r.long("at")?);
        let value_count = r.long("values")?;
        let mut values = vec![];
        for _ in 0..value_count {
            values.push(r.text("values")?.as_str());
        }
        let cells = read_cells(r).map_err(|_| invalid("cells", "those of a window"))?;
        Ok(Self {
            meter,
            version,
            start_us,
            event_count,
            seen,
            at,
            values,
            cells,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_garbage_is_refused() {
        let sum = Sum {
            meter: "calls",
            version: 3,
            start_us: -7_000,
            event_count: 2,
            seen: EventTime::from_us(1),
            at: BrokerTime::from_ms(2),
            values: vec!["a", "", "é=,"],
            cells: Whole {
                words: vec![2, 0, u64::MAX],
                carries: vec![(1, -1)],
                sketches: vec![],
            },
        };
        let mut all = vec![vec![]; 4];
        put_begun(&mut all[0], (1, 4), b"{}", EventTime::MIN);
        put_ended(&mut all[1], (1, 4), "calls", 2);
        put_sum(&mut all[2], (1, 4), &sum);
        put_clock(&mut all[3], (1, 4), BrokerTime::from_ms(99));
        for bytes in &all {
            let partial = Partial::decode(bytes).unwrap();
            assert_eq!((partial.source, partial.source_count), (1, 4));
            for cut in 0..bytes.len() {
                assert!(Partial::decode(&bytes[..cut]).is_err(), "{cut}");
            }
            assert!(Partial::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
        let Told::Sum(read) = Partial::decode(&all[2]).unwrap().told else {
            panic!("a sum");
        };
        assert_eq!(format!("{read:?}"), format!("{sum:?}"));
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let mut bytes = all[random.usize(0..4)].clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = Partial::decode(&bytes);
        }
    }
}
