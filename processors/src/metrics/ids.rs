//! Which events have been seen: their identities, in slices of event time, per subject.
//!
//! Every event that would not yet be late is remembered. A slice that goes raises its subject's
//! floor to its end, so a repeat is either in the set or late, however much later it comes.

use std::hash::Hasher;

use runtime::prefetch::prefetch;
use schemas::event::EventView;
use schemas::time::EventTime;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::idset::IdSet;

/// The length of a slice of event time. A quarter of the default lateness: little is kept for
/// longer than it must be.
pub const SLICE_US: i64 = 30_000_000;

/// The identity of an event, in 128 bits.
#[inline]
pub fn identity(event: &EventView<'_>) -> u128 {
    // A fixed key: the identities lie in the state and must be the same for ever.
    let mut hasher = SipHasher13::new_with_keys(0x7075_6c73_655f_6964, 0x6576_656e_745f_6964);
    hasher.write(event.event_type.as_bytes());
    hasher.write_u8(0xff);
    // Subjects that share one clock share one set of identities as well.
    hasher.write(event.subject.as_bytes());
    hasher.write_u8(0xff);
    hasher.write_i64(event.occurred_at.as_us());
    hasher.write(event.event_id.as_bytes());
    hasher.finish128().as_u128()
}

/// The start of the slice that holds an instant.
#[inline]
pub fn slice_start_us(at: EventTime) -> i64 {
    at.as_us().saturating_sub(at.as_us().rem_euclid(SLICE_US))
}

/// Identities of one slice of event time.
#[derive(Debug)]
pub struct Slice {
    /// Its first instant.
    pub start_us: i64,
    ids: IdSet,
    /// Those that are not in the state topic yet.
    fresh: Vec<u128>,
    /// State records written so far.
    pub chunk_count: u32,
}

impl Slice {
    fn new(start_us: i64) -> Self {
        Self {
            start_us,
            ids: IdSet::default(),
            fresh: vec![],
            chunk_count: 0,
        }
    }

    /// First instant that is no longer inside.
    pub fn end_us(&self) -> i64 {
        self.start_us.saturating_add(SLICE_US)
    }

    /// How many identities.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Takes the identities that are not in the state topic yet.
    pub fn take_fresh(&mut self) -> Vec<u128> {
        std::mem::take(&mut self.fresh)
    }

    /// True when some identity is not in the state topic yet.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }
}

/// What a subject remembers; slices by start.
#[derive(Debug, Default)]
pub struct SeenIds {
    slices: Vec<Slice>,
}

/// What [`SeenIds::insert`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Seen before.
    Before,
    /// New; its slice had nothing fresh yet.
    FirstFresh,
    /// New.
    New,
}

impl SeenIds {
    /// Remembers an identity.
    #[inline]
    pub fn insert(&mut self, occurred_at: EventTime, id: u128) -> Seen {
        let start_us = slice_start_us(occurred_at);
        let slice = self.slice(start_us);
        if !slice.ids.insert(id) {
            return Seen::Before;
        }
        slice.fresh.push(id);
        if slice.fresh.len() == 1 {
            Seen::FirstFresh
        } else {
            Seen::New
        }
    }

    /// The latest slice.
    #[inline]
    pub(super) fn latest(&self) -> Option<&Slice> {
        self.slices.last()
    }

    /// Asks for the places at which an identity lies, or would.
    #[inline]
    pub(super) fn warm(&self, occurred_at: EventTime, id: u128) {
        let start_us = slice_start_us(occurred_at);
        let mut slices = self.slices.iter().rev();
        if let Some(slice) = slices.find(|slice| slice.start_us == start_us) {
            slice.fresh.last().into_iter().for_each(prefetch);
            slice.ids.warm(id);
        }
    }

    /// The slice that starts there, made when there is none.
    #[inline]
    pub fn slice(&mut self, start_us: i64) -> &mut Slice {
        // Nearly always the last.
        let at = match self
            .slices
            .iter()
            .rposition(|slice| slice.start_us <= start_us)
        {
            Some(at) if self.slices[at].start_us == start_us => return &mut self.slices[at],
            Some(at) => at + 1,
            None => 0,
        };
        // Five or six are held of a subject: room for no more than these.
        self.slices.reserve_exact(1);
        self.slices.insert(at, Slice::new(start_us));
        &mut self.slices[at]
    }

    /// Puts identities back from a state record.
    pub fn restore(&mut self, start_us: i64, chunk: u32, ids: impl Iterator<Item = u128>) -> usize {
        let slice = self.slice(start_us);
        slice.chunk_count = slice.chunk_count.max(chunk.saturating_add(1));
        ids.filter(|id| slice.ids.insert(*id)).count()
    }

    /// Forgets a slice.
    pub fn remove(&mut self, start_us: i64) -> Option<Slice> {
        let at = self
            .slices
            .iter()
            .position(|slice| slice.start_us == start_us)?;
        Some(self.slices.remove(at))
    }

    /// Where the oldest slice ends; the end of time for none.
    #[inline]
    pub fn oldest_end_us(&self) -> i64 {
        self.slices.first().map_or(i64::MAX, Slice::end_us)
    }

    /// Forgets the oldest slice.
    pub fn remove_oldest(&mut self) -> Option<Slice> {
        if self.slices.is_empty() {
            None
        } else {
            Some(self.slices.remove(0))
        }
    }

    /// The slices, oldest first.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// The slice that starts there.
    pub fn get_mut(&mut self, start_us: i64) -> Option<&mut Slice> {
        self.slices
            .iter_mut()
            .find(|slice| slice.start_us == start_us)
    }

    /// True when nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_new_once_in_its_slice() {
        let mut seen = SeenIds::default();
        let at = EventTime::from_ms;
        assert_eq!(seen.insert(at(10), 7), Seen::FirstFresh);
        assert_eq!(seen.insert(at(11), 8), Seen::New);
        assert_eq!(seen.insert(at(10), 7), Seen::Before);
        assert_eq!(seen.insert(at(-1), 7), Seen::FirstFresh);
        assert_eq!(seen.oldest_end_us(), 0);
        let gone = seen.remove_oldest().unwrap();
        assert_eq!((gone.start_us, gone.len()), (-SLICE_US, 1));
        assert_eq!(seen.get_mut(0).unwrap().take_fresh(), [7, 8]);
        assert_eq!(seen.insert(at(12), 9), Seen::FirstFresh);
    }
}
