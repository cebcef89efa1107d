//! A lane as it looks to whoever fills it: a bounded queue that is waited for, unless the tenant's
//! topics alone hold it up, or the tenant wants nothing any more.

use std::sync::Arc;

use bytes::Bytes;
use schemas::ids::{Stream, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::subscription::Subscriptions;

/// Bytes that may wait in all lanes of a feed together, in units of [`UNIT_BYTES`].
pub(super) const BUDGET_UNITS: usize = 256 * 1024;
const UNIT_BYTES: usize = 1024;

/// The part of the budget that lanes in trouble leave to the others.
pub(super) const SPARED_UNITS: usize = BUDGET_UNITS / 2;

/// The topic that holds a lane up, while one does.
pub(super) type Trouble = Option<Arc<str>>;

/// What is to be published for a tenant.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) stream: Stream,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

impl Record {
    fn units(&self) -> u32 {
        let bytes = self.key.len() + self.value.len();
        u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
    }
}

/// A record that waits for its acknowledgement.
pub(super) struct Parcel {
    pub(super) record: Record,
    _room: OwnedSemaphorePermit,
}

/// What became of a record that was offered.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offered {
    Taken,
    Lost,
    /// The lane's task has ended.
    Ended,
}

/// Why a lane is not waited for.
enum Unawaited {
    /// Nobody knows whether its topic will ever be there: the others must not wait for it.
    InTrouble(Arc<str>),
    /// Its tenant has no feed any more that this connection serves.
    Unwanted,
}

pub(super) struct Lane {
    pub(super) tenant: TenantId,
    pub(super) sender: mpsc::Sender<Parcel>,
    pub(super) trouble: watch::Receiver<Trouble>,
    /// Newer than what the connection has adopted, which cannot adopt while it waits here.
    pub(super) wishes: watch::Receiver<Arc<Subscriptions>>,
    pub(super) budget: Arc<Semaphore>,
    /// Records lost since the lane was last waited for.
    pub(super) lost_count: u64,
}

impl Lane {
    /// Hands a record in. Waits while the lane or the budget is full, as long as there is hope.
    pub(super) async fn offer(&mut self, record: &Record) -> Offered {
        loop {
            if let Some(why) = self.unawaited() {
                return self.offer_at_once(record, &why);
            }
            self.end_loss();
            tokio::select! {
                biased;
                offered = hand_in(&self.sender, &self.budget, record) => return offered,
                () = changed(&mut self.trouble) => {}
                () = changed(&mut self.wishes) => {}
            }
        }
    }

    fn unawaited(&mut self) -> Option<Unawaited> {
        if let Some(topic) = &*self.trouble.borrow_and_update() {
            return Some(Unawaited::InTrouble(Arc::clone(topic)));
        }
        let is_wanted = self.wishes.borrow_and_update().has(&self.tenant);
        (!is_wanted).then_some(Unawaited::Unwanted)
    }

    fn offer_at_once(&mut self, record: &Record, why: &Unawaited) -> Offered {
        let spared = match why {
            Unawaited::InTrouble(_) => SPARED_UNITS,
            Unawaited::Unwanted => 0,
        };
        let budget = Arc::clone(&self.budget);
        let room = match budget.available_permits() >= spared {
            true => budget.try_acquire_many_owned(record.units()).ok(),
            false => None,
        };
        let Some(room) = room else {
            return self.lose(why);
        };
        match self.sender.try_send(parcel(record, room)) {
            Ok(()) => Offered::Taken,
            Err(mpsc::error::TrySendError::Full(_)) => self.lose(why),
            Err(mpsc::error::TrySendError::Closed(_)) => Offered::Ended,
        }
    }

    /// Says once that records are lost; the counter says how many.
    fn lose(&mut self, why: &Unawaited) -> Offered {
        let tenant = &self.tenant;
        if self.lost_count == 0 {
            match why {
                Unawaited::InTrouble(topic) => {
                    let topic: &str = topic;
                    tracing::error!(%tenant, topic, "no room for what waits for it: records lost");
                }
                Unawaited::Unwanted => {
                    tracing::error!(%tenant, "no room, and no feed any more: records lost");
                }
            }
        }
        self.lost_count += 1;
        Offered::Lost
    }

    fn end_loss(&mut self) {
        let lost_count = std::mem::take(&mut self.lost_count);
        if lost_count > 0 {
            let tenant = &self.tenant;
            tracing::info!(%tenant, lost_count, "no records are lost any more");
        }
    }
}

async fn hand_in(
    sender: &mpsc::Sender<Parcel>,
    budget: &Arc<Semaphore>,
    record: &Record,
) -> Offered {
    let room = Arc::clone(budget).acquire_many_owned(record.units()).await;
    let room = room.expect("the budget is never closed");
    match sender.send(parcel(record, room)).await {
        Ok(()) => Offered::Taken,
        Err(_) => Offered::Ended,
    }
}

fn parcel(record: &Record, room: OwnedSemaphorePermit) -> Parcel {
    Parcel {
        record: record.clone(),
        _room: room,
    }
}

/// Waits for another value; for ever once nobody is left to send one.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}
