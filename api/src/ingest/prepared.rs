//! What a request comes to: records to publish, and the fate of each event.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use schemas::decimal::Decimal;
use schemas::event::{Event, EventHead, EventType, encode};
use schemas::refusal::{EventRules, Refusal, read_event};
use schemas::time::{BrokerTime, EventTime};

use super::Rules;
use super::faults::{FAULTS_MAX, FAULTS_OF_REQUEST_MAX, Faults};
use crate::problem::FieldFault;

/// The events of one request.
///
/// Each event has an index, its place in the request. A record that nobody has said to be safe is
/// answered as unavailable: to forget a call is to promise too little.
#[derive(Default)]
pub struct Prepared {
    /// Each record's key and, right behind it, its value.
    arena: Vec<u8>,
    records: Vec<Record>,
    fates: Vec<Fate>,
    faults_count: usize,
    /// Places in `records`, by the identities of their events.
    seen: HashTable<(u64, u32)>,
    hashes: DefaultHashBuilder,
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Every in-sync replica has it.
    Acknowledged,
    /// This gateway's disk has it.
    Stored,
    /// It was acknowledged before, under the same idempotency key and body.
    Repeated,
    /// Nobody knows: it may be sent again.
    Unavailable,
}

/// What an event comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome<'p> {
    /// Every in-sync replica has it.
    Accepted,
    /// This gateway's disk has it, and the brokers get it from there.
    Stored,
    /// It stands in this request before, or was acknowledged earlier under the same key.
    Duplicate,
    /// It is sound, and it is not known whether anybody has it: send it again.
    Unavailable,
    /// It cannot be used, for these faults.
    Rejected(&'p [FieldFault]),
}

struct Record {
    index: u32,
    key: u32,
    value: u32,
    end: u32,
    event_type: &'static str,
    occurred_at: EventTime,
    delivery: Delivery,
}

enum Fate {
    /// It is this record.
    Record(u32),
    /// It repeats the event of this record.
    Repeat(u32),
    Rejected(Vec<FieldFault>),
}

/// Whether an event's identity may come again in its request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// It was made for it.
    Made,
    /// Its client gave it.
    Given,
}

impl Prepared {
    /// For events of about so many bytes together.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            arena: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Events so far, whatever became of them.
    pub fn len(&self) -> usize {
        self.fates.len()
    }

    /// True when there are no events.
    pub fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }

    /// Records to publish.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Bytes of all records, keys included.
    pub fn record_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The records to publish: the index of each one's event, its key and its value.
    pub fn records(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        let is_in = |record: &&Record| matches!(self.fates[record.index as usize], Fate::Record(_));
        self.records
            .iter()
            .filter(is_in)
            .map(|record| (record.index as usize, self.key(record), self.value(record)))
    }

    /// Every record has become this.
    pub fn deliver_all(&mut self, delivery: Delivery) {
        for record in &mut self.records {
            record.delivery = delivery;
        }
    }

    /// The record of the event at `index` has become this; nothing happens if it has none.
    pub fn deliver(&mut self, index: usize, delivery: Delivery) {
        if let Some(Fate::Record(at)) = self.fates.get(index) {
            self.records[*at as usize].delivery = delivery;
        }
    }

    /// The event at `index` is not to be published after all, and this is why.
    ///
    /// # Panics
    /// When there are not that many events.
    pub fn withdraw(&mut self, index: usize, fault: FieldFault) {
        self.fates[index] = Fate::Rejected(vec![fault]);
    }

    /// What the event at `index` comes to, as things stand.
    ///
    /// # Panics
    /// When there are not that many events.
    pub fn outcome(&self, index: usize) -> Outcome<'_> {
        match &self.fates[index] {
            Fate::Rejected(faults) => Outcome::Rejected(faults),
            Fate::Record(at) => match self.records[*at as usize].delivery {
                Delivery::Acknowledged => Outcome::Accepted,
                Delivery::Stored => Outcome::Stored,
                Delivery::Repeated => Outcome::Duplicate,
                Delivery::Unavailable => Outcome::Unavailable,
            },
            // Whoever hears "duplicate" need not send it again, so its first must be safe.
            Fate::Repeat(at) => match self.records[*at as usize].delivery {
                Delivery::Unavailable => Outcome::Unavailable,
                _ => Outcome::Duplicate,
            },
        }
    }

    /// The id of the event at `index`, its own or the one that was made for it; `None` of one that
    /// was rejected.
    pub fn event_id(&self, index: usize) -> Option<&[u8]> {
        match &self.fates[index] {
            Fate::Record(at) | Fate::Repeat(at) => {
                Some(self.record_event_id(&self.records[*at as usize]))
            }
            Fate::Rejected(_) => None,
        }
    }

    /// Adds an event that is no JSON of ours. It is held to the limits of [`schemas::refusal`], at
    /// its time of receipt; names that are kept for the platform are the caller's to keep off.
    pub fn push_event(&mut self, event: &Event, rules: &Rules<'_>) {
        let tags = event
            .tags
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let metrics = event
            .metrics
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        let start = self.arena.len();
        self.push(&event.head(), tags, metrics, Identity::Made);
        let record = self.records.last().expect("pushed on the line above");
        let appended_at = BrokerTime::from_ms(rules.received_at.as_ms());
        let strict = EventRules {
            dates: rules.dates,
            direct_producers: true,
        };
        let refused = read_event(Some(self.value(record)), appended_at, &strict, || false).err();
        if let Some(refusal) = refused {
            self.arena.truncate(start);
            self.records.pop();
            self.fates.pop();
            self.reject(vec![fault(refusal)]);
        }
    }

    /// Adds an event that cannot be used.
    pub fn reject(&mut self, faults: Vec<FieldFault>) {
        self.faults_count += faults.len();
        self.fates.push(Fate::Rejected(faults));
    }

    /// Faults that may still be told of the next event.
    pub(super) fn no_faults(&self) -> Faults {
        Faults::telling(match self.faults_count {
            0..FAULTS_OF_REQUEST_MAX => FAULTS_MAX,
            _ => 1,
        })
    }

    /// Adds a sound event, or notes that it repeats an earlier one.
    #[inline]
    pub(super) fn push<'a>(
        &mut self,
        head: &EventHead<'_>,
        tags: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        metrics: impl ExactSizeIterator<Item = (&'a str, Decimal)>,
        identity: Identity,
    ) {
        let at = place(self.records.len());
        if identity == Identity::Given
            && let Some(first) = self.note(head, at)
        {
            self.fates.push(Fate::Repeat(first));
            return;
        }
        let key = place(self.arena.len());
        self.arena.extend_from_slice(head.subject.as_bytes());
        let value = place(self.arena.len());
        encode(&mut self.arena, head, tags, metrics);
        self.records.push(Record {
            index: place(self.fates.len()),
            key,
            value,
            end: place(self.arena.len()),
            event_type: EventType::from_bytes(head.event_type.as_bytes())
                .map_or("", EventType::as_str),
            occurred_at: head.occurred_at,
            delivery: Delivery::Unavailable,
        });
        self.fates.push(Fate::Record(at));
    }

    /// The earlier record of the same identity, or else notes that `at` has it.
    #[inline]
    fn note(&mut self, head: &EventHead<'_>, at: u32) -> Option<u32> {
        let (id, subject) = (head.event_id.as_bytes(), head.subject.as_bytes());
        let hash = self
            .hashes
            .hash_one((head.event_type, head.occurred_at, id, subject));
        let is_same = |(other, first): &(u64, u32)| {
            let record = &self.records[*first as usize];
            *other == hash
                && record.occurred_at == head.occurred_at
                && record.event_type == head.event_type
                && self.record_event_id(record) == id
                && self.key(record) == subject
        };
        let first = self.seen.find(hash, is_same).map(|(_, first)| *first);
        if first.is_none() {
            self.seen.insert_unique(hash, (hash, at), |(hash, _)| *hash);
        }
        first
    }

    fn key(&self, record: &Record) -> &[u8] {
        &self.arena[record.key as usize..record.value as usize]
    }

    fn value(&self, record: &Record) -> &[u8] {
        &self.arena[record.value as usize..record.end as usize]
    }

    /// The first field of an event, behind the five bytes of the frame.
    fn record_event_id(&self, record: &Record) -> &[u8] {
        let body = &self.value(record)[5..];
        // The length is a zig-zag varint, so twice the number; ids have at most 256 bytes.
        match *body {
            [short, ref rest @ ..] if short < 0x80 => &rest[..usize::from(short / 2)],
            [low, high, ref rest @ ..] => {
                &rest[..usize::from(low & 0x7f) / 2 + usize::from(high) * 64]
            }
            _ => &[],
        }
    }
}

/// A place in the arena or in a list of a request, which are far smaller than 4 GiB.
#[inline]
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a request is bounded at a few megabytes")
}

/// A refusal in a client's terms.
fn fault(refusal: Refusal) -> FieldFault {
    match refusal {
        Refusal::Size { field, reason } => {
            FieldFault::new(format!("/{}", field.replace('.', "/")), reason)
        }
        other => FieldFault::new("", other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use schemas::event::{Severity, Source};
    use schemas::refusal::DateLimits;

    use super::*;

    const RULES: Rules<'_> = Rules {
        received_at: EventTime::from_ms(1_000),
        dates: DateLimits {
            future_max_ms: 0,
            past_max_ms: 0,
        },
        batch_events_max: 10,
        idempotency: None,
    };

    fn event(event_id: &str) -> Event {
        Event {
            event_id: event_id.into(),
            event_type: EventType::ApiCall,
            name: None,
            occurred_at: EventTime::from_ms(1_000),
            received_at: EventTime::from_ms(1_000),
            severity: Severity::Info,
            source: Source::default(),
            subject: "a".into(),
            sequence: None,
            title: None,
            trace_id: None,
            user_id: None,
            tags: [("a".into(), "b".into())].into(),
            metrics: [].into(),
            payload: None,
        }
    }

    #[test]
    fn ids_of_every_length_are_found_again_in_their_records() {
        for length in 1..=256 {
            let mut prepared = Prepared::default();
            let id = "x".repeat(length);
            prepared.push_event(&event(&id), &RULES);
            assert_eq!(prepared.event_id(0), Some(id.as_bytes()), "{length}");
        }
    }

    #[test]
    fn an_event_beyond_the_limits_is_rejected_and_leaves_nothing_behind() {
        let mut prepared = Prepared::default();
        prepared.push_event(&event("1"), &RULES);
        prepared.push_event(&event(""), &RULES);
        prepared.push_event(&event("3"), &RULES);
        let expect = [FieldFault::new("/event_id", "has 1 to 256 bytes")];
        assert_eq!(prepared.outcome(1), Outcome::Rejected(&expect));
        let indexes: Vec<usize> = prepared.records().map(|(index, ..)| index).collect();
        assert_eq!(indexes, [0, 2]);
        assert_eq!(prepared.event_id(2), Some(&b"3"[..]));
    }

    #[test]
    fn what_nobody_said_to_be_safe_is_unavailable_and_so_are_its_repeats() {
        let mut prepared = Prepared::default();
        let event = event("1");
        for _ in 0..2 {
            let none = [("", ""); 0].into_iter();
            let no_metrics = [("", Decimal::ZERO); 0].into_iter();
            prepared.push(&event.head(), none, no_metrics, Identity::Given);
        }
        assert_eq!(prepared.record_count(), 1);
        let outcomes = |p: &Prepared| [p.outcome(0), p.outcome(1)].map(|o| format!("{o:?}"));
        assert_eq!(outcomes(&prepared), ["Unavailable", "Unavailable"]);
        prepared.deliver(0, Delivery::Stored);
        assert_eq!(outcomes(&prepared), ["Stored", "Duplicate"]);
        prepared.deliver_all(Delivery::Acknowledged);
        assert_eq!(outcomes(&prepared), ["Accepted", "Duplicate"]);
        prepared.deliver(1, Delivery::Unavailable);
        assert_eq!(outcomes(&prepared), ["Accepted", "Duplicate"]);
    }
}
