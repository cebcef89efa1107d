//! Marks: a letter's record has been put back.
//!
//! A mark is itself a letter, about a letter: its source is the topic of dead letters, its place
//! the letter's there, its reason [`REASON`]. So it is exact, it outlives whoever put the record
//! back, it is a row in ClickHouse beside its letter's, and it needs no format of its own.
//!
//! It is written when the brokers have the record. A crash between the two lets the next run put
//! the record back once more, which its identity makes harmless.

use schemas::dead_letter::DeadLetter;
use schemas::ids::{Stream, TenantId};
use schemas::time::BrokerTime;
use schemas::wire::Text;

/// The reason that no refusal has.
pub const REASON: &str = "put_back";

/// The letter that a record is about, when that record is a mark.
pub fn letter_of(record: &DeadLetter<'_>, tenant: &TenantId) -> Option<i64> {
    let letters = tenant.topic(Stream::DeadLetters).to_string();
    let is_mark = record.reason.as_str() == REASON && record.source.as_str() == letters;
    record.offset.filter(|_| is_mark)
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

    #[test]
    fn a_mark_names_its_letter_and_no_letter_is_one() {
        let demo: TenantId = "demo".parse().unwrap();
        let mark = Mark {
            letters: "pulse.demo.dead-letters".into(),
            number: 17,
            written_at_ms: 1_000,
            topic: "pulse.demo.events".into(),
            rounds: 2,
        };
        let (key, value) = mark.record();
        assert_eq!(key, "pulse.demo.dead-letters/0/17");
        let read = DeadLetter::decode(&value).unwrap();
        assert_eq!(letter_of(&read, &demo), Some(17));
        assert_eq!((read.replay_count, read.value), (2, None));
        // Another tenant's, and a refusal with a foreign word.
        assert_eq!(letter_of(&read, &"other".parse().unwrap()), None);
        let refused = DeadLetter {
            source: Text::new("pulse.demo.events"),
            ..read
        };
        assert_eq!(letter_of(&refused, &demo), None);
    }
}
