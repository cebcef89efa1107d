//! The subjects of a partition: their names, clocks and what is due of them.
//!
//! What is looked at for every event or every tick lies in a column of its own, so that a scan over
//! a million subjects is a walk over one array.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use super::clock::Clock;
use super::ids::SeenIds;

/// A subject's place; never used again, since clocks stay.
pub type SubjectId = u32;

/// What no instant reaches.
pub const NEVER: i64 = i64::MAX;

/// The subjects of one partition, as columns.
#[derive(Debug, Default)]
pub struct Subjects {
    by_name: HashTable<SubjectId>,
    hasher: DefaultHashBuilder,
    names: Vec<Box<str>>,
    /// How far each one's stream has come.
    pub clocks: Vec<Clock>,
    /// The earliest end of a window that has not fired, in microseconds of event time.
    pub next_end_us: Vec<i64>,
    /// The earliest end of a window or slice of identities, in microseconds of event time.
    pub oldest_end_us: Vec<i64>,
    /// The earliest "now" at which silence makes something due, in milliseconds.
    due_ms: Vec<i64>,
    /// No subject is due before this.
    earliest_due_ms: i64,
    /// Which events have been seen.
    pub ids: Vec<SeenIds>,
    /// Each one's groups, with the meter that they are of.
    pub series: Vec<Vec<(u16, u32)>>,
    is_changed: Vec<bool>,
    changed: Vec<SubjectId>,
}

impl Subjects {
    /// None yet.
    pub fn new() -> Self {
        Self {
            earliest_due_ms: NEVER,
            ..Self::default()
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A subject's name.
    pub fn name(&self, subject: SubjectId) -> &str {
        &self.names[subject as usize]
    }

    /// The hash by which a name is found.
    #[inline]
    pub fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    /// The subject of that name.
    pub fn named(&self, name: &str) -> Option<SubjectId> {
        self.find(self.hash(name.as_bytes()), name.as_bytes())
    }

    /// The subject of that name with that hash.
    #[inline]
    pub fn find(&self, hash: u64, name: &[u8]) -> Option<SubjectId> {
        let names = &self.names;
        self.by_name
            .find(hash, |id| names[*id as usize].as_bytes() == name)
            .copied()
    }

    /// A new subject.
    pub fn add(&mut self, name: &str) -> SubjectId {
        let subject =
            SubjectId::try_from(self.names.len()).expect("subjects are capped below 2^32");
        self.grow(subject);
        self.set_name(subject, name);
        self.mark_changed(subject);
        subject
    }

    /// Makes room for a subject that a state record names.
    pub fn grow(&mut self, subject: SubjectId) {
        let count = subject as usize + 1;
        if count <= self.names.len() {
            return;
        }
        self.names.resize(count, "".into());
        self.clocks.resize(count, Clock::NEW);
        self.next_end_us.resize(count, NEVER);
        self.oldest_end_us.resize(count, NEVER);
        self.due_ms.resize(count, NEVER);
        self.ids.resize_with(count, SeenIds::default);
        self.series.resize(count, vec![]);
        self.is_changed.resize(count, false);
    }

    /// Names a subject, once.
    pub fn set_name(&mut self, subject: SubjectId, name: &str) {
        if !self.names[subject as usize].is_empty() {
            return;
        }
        self.names[subject as usize] = name.into();
        let (names, hasher) = (&self.names, &self.hasher);
        let hash = hasher.hash_one(name.as_bytes());
        self.by_name.insert_unique(hash, subject, |id| {
            hasher.hash_one(names[*id as usize].as_bytes())
        });
    }

    /// Notes that the clock changed since the last flush.
    #[inline]
    pub fn mark_changed(&mut self, subject: SubjectId) {
        if !self.is_changed[subject as usize] {
            self.is_changed[subject as usize] = true;
            self.changed.push(subject);
        }
    }

    /// Takes the subjects whose clock changed since the last flush.
    pub fn take_changed(&mut self) -> Vec<SubjectId> {
        for subject in &self.changed {
            self.is_changed[*subject as usize] = false;
        }
        std::mem::take(&mut self.changed)
    }

    /// Subjects whose clock changed since the last flush.
    pub fn changed_count(&self) -> usize {
        self.changed.len()
    }

    /// Sets when silence next makes something due.
    #[inline]
    pub fn set_due(&mut self, subject: SubjectId, due_ms: i64) {
        self.due_ms[subject as usize] = due_ms;
        self.earliest_due_ms = self.earliest_due_ms.min(due_ms);
    }

    /// No subject is due before this, in milliseconds.
    #[inline]
    pub fn earliest_due_ms(&self) -> i64 {
        self.earliest_due_ms
    }

    /// The subjects that are due at `now_ms`.
    pub fn take_due(&mut self, now_ms: i64, due: &mut Vec<SubjectId>) {
        let mut earliest = NEVER;
        for (subject, due_ms) in self.due_ms.iter().enumerate() {
            if *due_ms <= now_ms {
                due.push(subject as SubjectId);
            } else {
                earliest = earliest.min(*due_ms);
            }
        }
        self.earliest_due_ms = earliest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_found_by_name_and_due_by_time() {
        let mut subjects = Subjects::new();
        let ids: Vec<SubjectId> = (0..1_000).map(|n| subjects.add(&format!("s{n}"))).collect();
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(subjects.named(&format!("s{n}")), Some(*id));
            subjects.set_due(*id, n as i64);
        }
        assert_eq!(subjects.named("s1000"), None);
        let mut due = vec![];
        subjects.take_due(2, &mut due);
        assert_eq!(due, [0, 1, 2]);
        assert_eq!(subjects.earliest_due_ms(), 3);
        assert_eq!(subjects.take_changed().len(), 1_000);
        assert_eq!(subjects.changed_count(), 0);
    }
}
