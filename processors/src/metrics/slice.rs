//! The identities of one slice of event time, in as little memory as their number allows.
//!
//! Many subjects have an event or two in 30 s, for which a table would be mostly room. So a few
//! identities lie in a list of exactly their length, in the order in which they came, and only more
//! of them get a table.

use runtime::prefetch::prefetch;
use schemas::time::EventTime;

use super::idset::IdSet;

/// The length of a slice of event time. A quarter of the default lateness: little is kept for
/// longer than it must be.
pub const SLICE_US: i64 = 30_000_000;

/// Identities of one slice of event time.
#[derive(Debug)]
pub struct Slice {
    head: Head,
    ids: Ids,
}

#[derive(Debug)]
enum Ids {
    /// As they came. The first of them are in the state topic: the head says how many.
    Few(Box<[u128]>),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    set: IdSet,
    /// Those that are not in the state topic yet.
    fresh: Vec<u128>,
    /// State records written so far.
    chunk_count: u32,
}

/// Identities that a list is looked through for.
const FEW_MAX: usize = 6;

/// Identities in a line of the cache.
const IDS_A_LINE: usize = 4;

impl Slice {
    /// A slice without identities.
    pub(super) fn new(start_us: i64) -> Self {
        Self {
            head: Head::new(start_us),
            ids: Ids::Few(Box::default()),
        }
    }

    /// Its first instant.
    #[inline]
    pub fn start_us(&self) -> i64 {
        self.head.start_us()
    }

    /// First instant that is no longer inside.
    #[inline]
    pub fn end_us(&self) -> i64 {
        self.start_us().saturating_add(SLICE_US)
    }

    /// How many identities.
    pub fn len(&self) -> usize {
        match &self.ids {
            Ids::Few(list) => list.len(),
            Ids::Many(many) => many.set.len(),
        }
    }

    /// True for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// State records written so far.
    pub fn chunk_count(&self) -> u32 {
        match &self.ids {
            Ids::Few(_) => self.head.chunk_count(),
            Ids::Many(many) => many.chunk_count,
        }
    }

    fn set_chunk_count(&mut self, count: u32) {
        if count > CHUNKS_MAX && matches!(self.ids, Ids::Few(_)) {
            // More records than a list has identities: the others are still to be put back.
            self.make_many();
        }
        match &mut self.ids {
            Ids::Few(_) => self.head.set_chunk_count(count),
            Ids::Many(many) => many.chunk_count = count,
        }
    }

    /// Takes an identity in; false when it was there.
    #[inline]
    pub(super) fn insert(&mut self, id: u128) -> bool {
        let many = match &mut self.ids {
            Ids::Few(list) if list.contains(&id) => return false,
            Ids::Few(list) if list.len() < FEW_MAX => {
                push(list, id);
                return true;
            }
            Ids::Few(_) => self.make_many(),
            Ids::Many(many) => many,
        };
        let is_new = many.set.insert(id);
        if is_new {
            many.fresh.push(id);
        }
        is_new
    }

    /// Takes an identity in that is in the state topic; false when it was there. All of them are
    /// put back before others come.
    pub(super) fn restore(&mut self, id: u128) -> bool {
        let many = match &mut self.ids {
            Ids::Few(list) if list.contains(&id) => return false,
            Ids::Few(list) if list.len() < FEW_MAX => {
                push(list, id);
                self.head.set_written(list.len());
                return true;
            }
            Ids::Few(_) => self.make_many(),
            Ids::Many(many) => many,
        };
        many.set.insert(id)
    }

    /// A state record with that number is in the topic.
    pub(super) fn restore_chunk(&mut self, chunk: u32) {
        let count = self.chunk_count().max(chunk.saturating_add(1));
        self.set_chunk_count(count);
    }

    /// Makes a table of the list.
    #[cold]
    fn make_many(&mut self) -> &mut Many {
        let mut many = Box::<Many>::default();
        if let Ids::Few(list) = &self.ids {
            for id in list.iter() {
                many.set.insert(*id);
            }
            many.chunk_count = self.head.chunk_count();
            let fresh = &list[self.head.written()..];
            many.fresh = Vec::with_capacity(fresh.len() + 1);
            many.fresh.extend(fresh);
        }
        self.ids = Ids::Many(many);
        match &mut self.ids {
            Ids::Many(many) => many,
            Ids::Few(_) => unreachable!("made above"),
        }
    }

    /// How many identities are not in the state topic yet.
    #[inline]
    pub fn fresh_count(&self) -> usize {
        match &self.ids {
            Ids::Few(list) => list.len() - self.head.written(),
            Ids::Many(many) => many.fresh.len(),
        }
    }

    /// Takes the identities that are not in the state topic yet, for so many of them in one
    /// record. Also the number of the first record.
    pub(super) fn take_fresh(&mut self, per_record: usize) -> (Vec<u128>, u32) {
        let fresh = match &mut self.ids {
            Ids::Few(list) => {
                let fresh = list[self.head.written()..].to_vec();
                self.head.set_written(list.len());
                fresh
            }
            Ids::Many(many) => std::mem::take(&mut many.fresh),
        };
        let first = self.chunk_count();
        let count = fresh.len().div_ceil(per_record) as u32;
        self.set_chunk_count(first.saturating_add(count));
        (fresh, first)
    }

    /// Asks for the memory behind the slice.
    #[inline]
    pub(super) fn warm(&self) {
        match &self.ids {
            Ids::Few(list) => list.iter().step_by(IDS_A_LINE).for_each(prefetch),
            Ids::Many(many) => prefetch(&**many),
        }
    }

    /// Asks for the places at which an identity lies, or would; behind [`Self::warm`].
    #[inline]
    pub(super) fn warm_place(&self, id: u128) {
        if let Ids::Many(many) = &self.ids {
            many.fresh.last().into_iter().for_each(prefetch);
            many.set.warm(id);
        }
    }
}

/// One more, and room for no other.
fn push(list: &mut Box<[u128]>, id: u128) {
    let mut longer = std::mem::take(list).into_vec();
    longer.reserve_exact(1);
    longer.push(id);
    *list = longer.into_boxed_slice();
}

/// Which slice it is, and of a list how many state records there are and how many identities are in
/// them, in one word: a slice with one identity is 40 bytes.
///
/// From the top: 40 bits of the slice's number, 21 of the records, 3 of the identities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head(i64);

const WRITTEN_BITS: u32 = 3;
const CHUNK_BITS: u32 = 21;
const NUMBER_SHIFT: u32 = WRITTEN_BITS + CHUNK_BITS;
/// Records of a list: as many as identities at most, but for one that is being put back.
const CHUNKS_MAX: u32 = (1 << CHUNK_BITS) - 1;

impl Head {
    fn new(start_us: i64) -> Self {
        Self(start_us.div_euclid(SLICE_US) << NUMBER_SHIFT)
    }

    #[inline]
    fn start_us(self) -> i64 {
        // The slice that the first instant of all time lies in begins before it.
        (self.0 >> NUMBER_SHIFT).saturating_mul(SLICE_US)
    }

    fn chunk_count(self) -> u32 {
        (self.0 >> WRITTEN_BITS) as u32 & CHUNKS_MAX
    }

    fn set_chunk_count(&mut self, count: u32) {
        debug_assert!(count <= CHUNKS_MAX, "more are for a table");
        self.0 &= !(i64::from(CHUNKS_MAX) << WRITTEN_BITS);
        self.0 |= i64::from(count & CHUNKS_MAX) << WRITTEN_BITS;
    }

    #[inline]
    fn written(self) -> usize {
        self.0 as usize & ((1 << WRITTEN_BITS) - 1)
    }

    fn set_written(&mut self, count: usize) {
        debug_assert!(count <= FEW_MAX, "a list has no more");
        self.0 = self.0 >> WRITTEN_BITS << WRITTEN_BITS | count as i64;
    }
}

/// The start of the slice that holds an instant.
#[inline]
pub fn slice_start_us(at: EventTime) -> i64 {
    at.as_us().saturating_sub(at.as_us().rem_euclid(SLICE_US))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_slice_with_one_identity_is_40_bytes() {
        assert_eq!(size_of::<Slice>() + size_of::<u128>(), 40);
    }

    #[test]
    fn a_head_keeps_its_three_numbers_apart() {
        let at = |us| slice_start_us(EventTime::from_us(us));
        let (first, second) = (at(i64::MIN), at(i64::MIN + SLICE_US));
        assert!(first < second);
        for start_us in [0, -SLICE_US, 59 * SLICE_US, at(i64::MAX), first, second] {
            let mut head = Head::new(start_us);
            head.set_written(FEW_MAX);
            head.set_chunk_count(CHUNKS_MAX);
            assert_eq!(head.start_us(), start_us);
            assert_eq!((head.written(), head.chunk_count()), (6, CHUNKS_MAX));
            head.set_written(0);
            head.set_chunk_count(5);
            assert_eq!(head.start_us(), start_us);
            assert_eq!((head.written(), head.chunk_count()), (0, 5));
        }
    }

    #[test]
    fn a_list_of_a_slice_with_many_records_is_a_table() {
        let mut slice = Slice::new(SLICE_US);
        slice.restore_chunk(CHUNKS_MAX);
        assert!(slice.restore(7) && !slice.restore(7));
        assert_eq!((slice.len(), slice.chunk_count()), (1, CHUNKS_MAX + 1));
        slice.restore_chunk(3);
        assert_eq!(
            (slice.start_us(), slice.chunk_count()),
            (SLICE_US, CHUNKS_MAX + 1)
        );
        assert!(slice.insert(8) && !slice.insert(7));
        assert_eq!(slice.take_fresh(9), (vec![8], CHUNKS_MAX + 1));
        assert_eq!(slice.chunk_count(), CHUNKS_MAX + 2);
    }

    /// Against a set and the records that were written: what is taken is new, each once, and what
    /// is put back from the records in any order is what was there.
    #[test]
    fn a_slice_is_what_its_records_make_of_it() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let start_us = rng.i64(-5..5) * SLICE_US;
            let (mut known, mut records) = (HashSet::new(), vec![]);
            let mut slice = Slice::new(start_us);
            for _ in 0..rng.usize(1..5) {
                let mut fresh = vec![];
                for _ in 0..rng.usize(0..9) {
                    let id = rng.u128(0..20);
                    let is_new = known.insert(id);
                    assert_eq!(slice.insert(id), is_new, "{id}");
                    fresh.extend(is_new.then_some(id));
                    slice.warm();
                    slice.warm_place(id);
                    assert_eq!(slice.fresh_count(), fresh.len());
                    assert_eq!((slice.len(), slice.start_us()), (known.len(), start_us));
                }
                let per_record = rng.usize(1..4);
                let (taken, first) = slice.take_fresh(per_record);
                assert_eq!((&taken, first as usize), (&fresh, records.len()));
                records.extend(taken.chunks(per_record).map(<[u128]>::to_vec));
                assert_eq!(slice.chunk_count() as usize, records.len());
                assert_eq!(slice.fresh_count(), 0);
                if rng.bool() {
                    let mut order: Vec<_> = (0..records.len()).collect();
                    rng.shuffle(&mut order);
                    slice = Slice::new(start_us);
                    for chunk in order {
                        slice.restore_chunk(chunk as u32);
                        records[chunk]
                            .iter()
                            .for_each(|id| assert!(slice.restore(*id)));
                    }
                    assert_eq!(slice.fresh_count(), 0);
                    assert_eq!(slice.chunk_count() as usize, records.len());
                }
            }
        }
    }
}
