//! Which events have been seen: their identities, in slices of event time, per subject.
//!
//! Every event that would not yet be late is remembered. A slice that goes raises its subject's
//! floor to its end, so a repeat is either in the set or late, however much later it comes.

use std::hash::Hasher;

use schemas::event::EventView;
use schemas::time::EventTime;
use siphasher::sip128::{Hasher128, SipHasher13};

pub use super::slice::{SLICE_US, Slice, slice_start_us};

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
        if !slice.insert(id) {
            return Seen::Before;
        }
        if slice.fresh_count() == 1 {
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

    /// The slice that holds an instant, when there is one.
    #[inline]
    pub(super) fn at(&self, occurred_at: EventTime) -> Option<&Slice> {
        let start_us = slice_start_us(occurred_at);
        let mut slices = self.slices.iter().rev();
        slices.find(|slice| slice.start_us() == start_us)
    }

    /// The slice that starts there, made when there is none.
    #[inline]
    pub fn slice(&mut self, start_us: i64) -> &mut Slice {
        // Nearly always the last.
        let at = match self
            .slices
            .iter()
            .rposition(|slice| slice.start_us() <= start_us)
        {
            Some(at) if self.slices[at].start_us() == start_us => return &mut self.slices[at],
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
        slice.restore_chunk(chunk);
        ids.filter(|id| slice.restore(*id)).count()
    }

    /// Forgets a slice.
    pub fn remove(&mut self, start_us: i64) -> Option<Slice> {
        let at = self
            .slices
            .iter()
            .position(|slice| slice.start_us() == start_us)?;
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
            .find(|slice| slice.start_us() == start_us)
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
        assert_eq!((gone.start_us(), gone.len()), (-SLICE_US, 1));
        assert_eq!(seen.get_mut(0).unwrap().take_fresh(9), (vec![7, 8], 0));
        assert_eq!(seen.insert(at(12), 9), Seen::FirstFresh);
    }
}
