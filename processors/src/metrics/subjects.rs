//! The subjects of a partition: their names, clocks and what is due of them.
//!
//! What is looked at for every event or every tick lies in a column of its own, so that a scan over
//! a million subjects is a walk over one array.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use super::clock::Clock;
use super::ends::{End, Ends};
use super::ids::SeenIds;

/// A subject's place; never used again, since clocks stay.
pub type SubjectId = u32;

/// Subjects whose earliest due instant is looked at as one.
const BLOCK: usize = 512;

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
    /// No subject of a block is due before this, so that a scan passes by what is not due.
    blocks_due_ms: Vec<i64>,
    /// No subject is due before this.
    earliest_due_ms: i64,
    /// Which events have been seen.
    pub ids: Vec<SeenIds>,
    /// Each one's own groups, with the meter that they are of: those of nothing but the subject.
    pub own: Vec<Vec<(u16, u32)>>,
    /// When the windows of its other groups end, where it has any.
    ends: Vec<Option<Box<Ends>>>,
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
        self.blocks_due_ms.resize(count.div_ceil(BLOCK), NEVER);
        self.ids.resize_with(count, SeenIds::default);
        self.own.resize(count, vec![]);
        self.ends.resize_with(count, || None);
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

    /// A window is there that has not fired and ends at `end_us`; `group` says which of which
    /// group's, unless that is the subject's own.
    pub fn opened(&mut self, subject: SubjectId, end_us: i64, group: Option<(u32, u8)>) {
        let at = subject as usize;
        self.next_end_us[at] = self.next_end_us[at].min(end_us);
        self.oldest_end_us[at] = self.oldest_end_us[at].min(end_us);
        if let Some((id, run)) = group {
            self.ends_mut(subject).add((end_us, id, run), false);
        }
    }

    /// The ends of the windows of a subject's groups, to add some.
    pub fn ends_mut(&mut self, subject: SubjectId) -> &mut Ends {
        self.ends[subject as usize].get_or_insert_default()
    }

    /// The ends of the windows of a subject's groups, if it has any.
    pub fn ends(&self, subject: SubjectId) -> Option<&Ends> {
        self.ends[subject as usize].as_deref()
    }

    /// The next window of a subject's groups that has not fired, if it ends at or before
    /// `until_us`.
    pub fn take_unfired(&mut self, subject: SubjectId, until_us: i64) -> Option<End> {
        self.ends[subject as usize]
            .as_mut()
            .and_then(|ends| ends.take_unfired(until_us))
    }

    /// The oldest window of a subject's groups, if it ends at or before `until_us`.
    pub fn take_held(&mut self, subject: SubjectId, until_us: i64) -> Option<End> {
        let ends = &mut self.ends[subject as usize];
        let taken = ends.as_mut().and_then(|ends| ends.take_held(until_us));
        // What is empty is given back.
        ends.take_if(|ends| ends.is_empty());
        taken
    }

    /// Forgets the windows of groups that are there no longer.
    pub fn retain_ends(&mut self, subject: SubjectId, is_there: impl Fn(u32) -> bool) {
        self.ends[subject as usize].take_if(|ends| {
            ends.retain(is_there);
            ends.is_empty()
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
        let block = &mut self.blocks_due_ms[subject as usize / BLOCK];
        *block = (*block).min(due_ms);
        self.earliest_due_ms = self.earliest_due_ms.min(due_ms);
    }

    /// No subject is due before this, in milliseconds.
    #[inline]
    pub fn earliest_due_ms(&self) -> i64 {
        self.earliest_due_ms
    }

    /// The subjects that are due at `now_ms`, in their order.
    pub fn take_due(&mut self, now_ms: i64, due: &mut Vec<SubjectId>) {
        let blocks = self.blocks_due_ms.iter_mut().zip(self.due_ms.chunks(BLOCK));
        for (first, (earliest, subjects)) in (0..).step_by(BLOCK).zip(blocks) {
            if *earliest > now_ms {
                continue;
            }
            *earliest = NEVER;
            for (subject, due_ms) in (first..).zip(subjects) {
                if *due_ms <= now_ms {
                    due.push(subject);
                } else {
                    *earliest = (*earliest).min(*due_ms);
                }
            }
        }
        self.earliest_due_ms = self.blocks_due_ms.iter().copied().min().unwrap_or(NEVER);
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

    /// Against a walk over all of them.
    #[test]
    fn who_is_due_is_found_whichever_block_it_is_in() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut subjects = Subjects::new();
        let mut naive = vec![];
        let mut now_ms = 0;
        for _ in 0..400 {
            for _ in 0..rng.usize(0..40) {
                let id = subjects.add(&format!("s{}", naive.len()));
                naive.push(NEVER);
                assert_eq!(id as usize, naive.len() - 1);
            }
            for _ in 0..rng.usize(0..20).min(naive.len()) {
                let at = rng.usize(0..naive.len());
                naive[at] = now_ms + rng.i64(-5..300);
                subjects.set_due(at as SubjectId, naive[at]);
            }
            now_ms += rng.i64(0..40);
            assert!(subjects.earliest_due_ms() <= *naive.iter().min().unwrap_or(&NEVER));
            let mut due = vec![];
            subjects.take_due(now_ms, &mut due);
            let is_due = |at: &usize| naive[*at] <= now_ms;
            let expect: Vec<_> = (0..naive.len()).filter(is_due).collect();
            assert!(due.iter().map(|id| *id as usize).eq(expect.iter().copied()));
            let left = (0..naive.len()).filter(|at| !is_due(at));
            let earliest = left.map(|at| naive[at]).min().unwrap_or(NEVER);
            let told = subjects.earliest_due_ms();
            assert!(now_ms < told && told <= earliest, "{told}, not {earliest}");
            for at in expect {
                naive[at] = NEVER;
                subjects.set_due(at as SubjectId, NEVER);
            }
        }
    }
}
