//! Marks: a letter's record has been put back.
//!
//! A mark is itself a letter, about a letter: its source is the topic of dead letters, its place
//! the letter's there, its reason [`REASON`]. So it is exact, it outlives whoever put the record
//! back, it is a row in ClickHouse beside its letter's, and it needs no format of its own.
//!
//! It is written when the brokers have the record. A crash between the two lets the next run put
//! the record back once more, which its identity makes harmless.
//!
//! A record counts as a mark only where it fits ([`Marks`]): it names a letter that lies before it,
//! with the time at which that was written. So nobody marks what is still to come, and a record
//! that only looks like a mark is listed as what it is. Who may read and write the topic can still
//! make one that fits, and so keep a letter from being put back: the right to write there is
//! processors' and operators', and no producer's.

use std::collections::BTreeMap;

use schemas::dead_letter::DeadLetter;
use schemas::ids::{Stream, TenantId};
use schemas::time::BrokerTime;
use schemas::wire::Text;

/// The reason that no refusal has.
pub const REASON: &str = "put_back";

/// Tells marks from letters, in the order in which they lie on the topic.
#[derive(Debug)]
pub struct Marks {
    /// The topic of dead letters.
    topic: String,
    /// The first number that the log holds.
    low: i64,
    /// When each letter so far was written, by its number.
    letters: BTreeMap<i64, BrokerTime>,
}

impl Marks {
    /// For a tenant's topic, read from `low` on, which is the first that the log holds.
    pub fn new(tenant: &TenantId, low: i64) -> Self {
        Self {
            topic: tenant.topic(Stream::DeadLetters).to_string(),
            low,
            letters: BTreeMap::new(),
        }
    }

    /// The letter that the next record names, when that record is a mark; else it is a letter.
    pub fn letter_of(
        &mut self,
        number: i64,
        written_at_ms: i64,
        record: &DeadLetter<'_>,
    ) -> Option<i64> {
        let letter = self.named(number, record);
        if letter.is_none() {
            let written_at = BrokerTime::from_ms(written_at_ms);
            self.letters.insert(number, written_at);
        }
        letter
    }

    fn named(&self, number: i64, record: &DeadLetter<'_>) -> Option<i64> {
        let named = record.offset.filter(|named| (0..number).contains(named))?;
        let looks_like_one = record.reason.as_str() == REASON
            && record.source.as_str() == self.topic
            && record.partition == Some(0)
            && record.key.is_none()
            && record.value.is_none();
        // Retention may have taken the letter before its mark, which then means nothing any more.
        let fits = named < self.low || self.letters.get(&named) == Some(&record.appended_at);
        (looks_like_one && fits).then_some(named)
    }
}

/// What a mark says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The topic of the letter.
    pub letters: String,
    /// The letter's number.
    pub number: i64,
    /// When it was written, in ms since the epoch.
    pub written_at_ms: i64,
    /// Where its record was put back.
    pub topic: String,
    /// How often that has been done.
    pub rounds: i32,
}

impl Mark {
    /// Its key and value on the topic of dead letters.
    pub fn record(&self) -> (String, Vec<u8>) {
        let detail = format!("put back on {}", self.topic);
        let record = DeadLetter {
            source: Text::new(&self.letters),
            partition: Some(0),
            offset: Some(self.number),
            appended_at: BrokerTime::from_ms(self.written_at_ms),
            reason: Text::new(REASON),
            detail: Text::new(&detail),
            replay_count: self.rounds,
            key: None,
            value: None,
        };
        let mut value = Vec::new();
        record.encode(&mut value);
        (record.record_key(), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: i64) -> Mark {
        Mark {
            letters: "pulse.demo.dead-letters".into(),
            number,
            written_at_ms: 1_000 + number,
            topic: "pulse.demo.events".into(),
            rounds: 2,
        }
    }

    fn refusal() -> DeadLetter<'static> {
        DeadLetter {
            source: Text::new("pulse.demo.events"),
            partition: Some(0),
            offset: Some(3),
            appended_at: BrokerTime::from_ms(0),
            reason: Text::new("truncated"),
            detail: Text::new(""),
            replay_count: 0,
            key: None,
            value: Some(b"value"),
        }
    }

    /// What a record is as number 20 of a log that begins with letters 15 to 19.
    #[track_caller]
    fn check(record: &DeadLetter<'_>, expect: Option<i64>) {
        let mut marks = Marks::new(&"demo".parse().unwrap(), 15);
        for number in 15..20 {
            assert_eq!(marks.letter_of(number, 1_000 + number, &refusal()), None);
        }
        assert_eq!(marks.letter_of(20, 5_000, record), expect, "{record:?}");
    }

    #[test]
    fn a_mark_names_its_letter() {
        let (key, value) = mark(17).record();
        assert_eq!(key, "pulse.demo.dead-letters/0/17");
        let read = DeadLetter::decode(&value).unwrap();
        assert_eq!((read.replay_count, read.value), (2, None));
        check(&read, Some(17));
        // Retention took the letter.
        check(&DeadLetter::decode(&mark(3).record().1).unwrap(), Some(3));
    }

    #[test]
    fn what_does_not_fit_is_a_letter() {
        check(&refusal(), None);
        for number in [-1, 20, 21] {
            check(&DeadLetter::decode(&mark(number).record().1).unwrap(), None);
        }
        let (_, value) = mark(17).record();
        let fits = DeadLetter::decode(&value).unwrap();
        let other_time = BrokerTime::from_ms(1_018);
        for changed in [
            DeadLetter {
                appended_at: other_time,
                ..fits
            },
            DeadLetter {
                partition: Some(1),
                ..fits
            },
            DeadLetter {
                partition: None,
                ..fits
            },
            DeadLetter {
                offset: None,
                ..fits
            },
            DeadLetter {
                value: Some(b""),
                ..fits
            },
            DeadLetter {
                key: Some(b""),
                ..fits
            },
            DeadLetter {
                reason: Text::new("truncated"),
                ..fits
            },
            DeadLetter {
                source: Text::new("pulse.other.dead-letters"),
                ..fits
            },
            DeadLetter {
                source: Text::new("pulse.demo.events"),
                ..fits
            },
        ] {
            check(&changed, None);
        }
    }

    #[test]
    fn a_mark_of_a_mark_is_none() {
        let mut marks = Marks::new(&"demo".parse().unwrap(), 17);
        assert_eq!(marks.letter_of(17, 1_017, &refusal()), None);
        let (_, first) = mark(17).record();
        let first = DeadLetter::decode(&first).unwrap();
        assert_eq!(marks.letter_of(18, 1_018, &first), Some(17));
        let (_, second) = mark(18).record();
        let second = DeadLetter::decode(&second).unwrap();
        assert_eq!(marks.letter_of(19, 1_019, &second), None);
        // Once more, as --again does.
        assert_eq!(marks.letter_of(20, 1_020, &first), Some(17));
    }
}
