//! One counter for a whole batch of records on their way, instead of a future for each.
//!
//! librdkafka carries one pointer per message and gives it back with the message's fate. Ours
//! points at the message's slot in its batch, and the slot knows the batch and its own place in it.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::util::IntoOpaque;
use tokio::sync::Notify;

use super::failure::Failure;

/// A record of a batch that was not written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("record {index}: {failure}")]
pub struct Undelivered {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub failure: Failure,
}

/// A batch on its way.
pub(super) struct Shipment {
    slots: Box<[Slot]>,
    /// Records without an answer yet, and one for the sender until it has sent them all.
    remaining: AtomicUsize,
    undelivered: Mutex<Vec<Undelivered>>,
    done: Notify,
}

struct Slot {
    shipment: *const Shipment,
    index: usize,
}

// SAFETY: a slot's pointer is only ever used as the `Arc` that it came from (see `Ticket`).
unsafe impl Send for Slot {}
// SAFETY: as above; slots are never written after the shipment was made.
unsafe impl Sync for Slot {}

impl Shipment {
    pub(super) fn new(count: usize) -> Arc<Self> {
        let mut shipment = Arc::new(Self {
            slots: Box::default(),
            remaining: AtomicUsize::new(count + 1),
            undelivered: Mutex::default(),
            done: Notify::new(),
        });
        let address = Arc::as_ptr(&shipment);
        let slots = (0..count)
            .map(|index| Slot {
                shipment: address,
                index,
            })
            .collect();
        Arc::get_mut(&mut shipment)
            .expect("nobody else has it yet")
            .slots = slots;
        shipment
    }

    /// The token to send with the record at `index`.
    pub(super) fn ticket(self: &Arc<Self>, index: usize) -> Ticket {
        Ticket {
            shipment: Arc::clone(self),
            index,
        }
    }

    /// Notes what became of one record.
    pub(super) fn settle(&self, index: usize, result: Result<(), Failure>) {
        if let Err(failure) = result {
            let mut undelivered = self
                .undelivered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            undelivered.push(Undelivered { index, failure });
        }
        self.count_down();
    }

    /// Everything was sent; waits for the last answer.
    pub(super) async fn finish(&self) -> Vec<Undelivered> {
        let done = self.done.notified();
        self.count_down();
        if self.remaining.load(Ordering::Acquire) > 0 {
            done.await;
        }
        let mut undelivered = self
            .undelivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut undelivered = std::mem::take(&mut *undelivered);
        undelivered.sort_by_key(|record| record.index);
        undelivered
    }

    fn count_down(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

/// A record's place in its shipment; one pointer wide while librdkafka carries it.
pub(super) struct Ticket {
    shipment: Arc<Shipment>,
    index: usize,
}

impl Ticket {
    pub(super) fn settle(self, result: Result<(), Failure>) {
        self.shipment.settle(self.index, result);
    }
}

impl IntoOpaque for Ticket {
    fn into_ptr(self) -> *mut c_void {
        let slot = &raw const self.shipment.slots[self.index];
        // The reference that this ticket holds travels with the pointer.
        std::mem::forget(self.shipment);
        slot.cast_mut().cast()
    }

    unsafe fn from_ptr(pointer: *mut c_void) -> Self {
        // SAFETY: the pointer came from `into_ptr`, which kept the shipment, and with it the slot,
        // alive; the slot holds the address of that very `Arc`, whose reference is taken back here.
        unsafe {
            let slot = &*pointer.cast::<Slot>();
            Self {
                shipment: Arc::from_raw(slot.shipment),
                index: slot.index,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode as Code;

    use super::*;

    fn failed() -> Result<(), Failure> {
        Err(Failure::of(Code::MessageTimedOut))
    }

    #[tokio::test]
    async fn answers_come_back_by_place_from_other_threads() {
        let shipment = Shipment::new(1_000);
        let pointers: Vec<usize> = (0..1_000)
            .map(|index| shipment.ticket(index).into_ptr() as usize)
            .collect();
        let thread = std::thread::spawn(move || {
            for (index, pointer) in pointers.into_iter().enumerate().rev() {
                // SAFETY: each pointer came from `into_ptr` and is taken back once.
                let ticket = unsafe { Ticket::from_ptr(pointer as *mut c_void) };
                assert_eq!(ticket.index, index);
                ticket.settle(if index % 300 == 7 { failed() } else { Ok(()) });
            }
        });
        let undelivered = shipment.finish().await;
        thread.join().unwrap();
        let places: Vec<_> = undelivered.iter().map(|record| record.index).collect();
        assert_eq!(places, [7, 307, 607, 907]);
        assert_eq!(
            Arc::strong_count(&shipment),
            1,
            "every ticket gave its reference back"
        );
    }

    #[tokio::test]
    async fn an_empty_batch_is_done_at_once() {
        assert!(Shipment::new(0).finish().await.is_empty());
    }

    #[test]
    fn a_batch_that_nobody_waits_for_is_freed_by_its_last_answer() {
        let shipment = Shipment::new(1);
        let weak = Arc::downgrade(&shipment);
        let ticket = shipment.ticket(0);
        drop(shipment);
        assert!(weak.upgrade().is_some());
        ticket.settle(failed());
        assert!(weak.upgrade().is_none());
    }
}
