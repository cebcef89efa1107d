//! Reading in turns: tenants get the same share of a round, however many partitions each has and
//! however much waits in them.

use std::collections::BTreeMap;

use super::super::log::{Log, LogError};
use super::super::partition::Partition;
use super::{Said, WorkerSettings};
use crate::step::{Place, Step};

/// Records of one partition that are read before the tenant's next has its turn.
const SLICE: usize = 512;

/// What a round of reading came to.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Records that were observed.
    pub(super) count: usize,
    /// Partitions that could not be read.
    pub(super) failed: Vec<(Place, LogError)>,
}

/// Reads every tenant's partitions, each tenant's for its share; `number` counts the rounds, and
/// moves on which partition of a tenant is first.
pub(super) fn round<S: Step, L: Log>(
    log: &mut L,
    partitions: &mut BTreeMap<Place, Partition<S>>,
    (settings, said): (&WorkerSettings, &mut Said),
    (number, is_going): (usize, bool),
) -> Round {
    let mut round = Round::default();
    // They are in the order of their tenants.
    let mut all: Vec<_> = partitions.iter_mut().collect();
    for own in all.chunk_by_mut(|(one, _), (other, _)| one.tenant == other.tenant) {
        let first = number % own.len();
        own.rotate_left(first);
        let mut ready: Vec<_> = own
            .iter_mut()
            .filter(|(_, partition)| may_go_on(partition, settings, is_going))
            .collect();
        for (_, partition) in &mut ready {
            partition.is_flowing = false;
        }
        let until_ms = log.now().as_ms() + settings.turn_ms;
        let mut left = settings.read_count_max;
        let mut is_first = true;
        while !ready.is_empty() {
            ready.retain_mut(|(place, partition)| {
                let asked = left.min(SLICE);
                let is_over = !is_first && log.now().as_ms() >= until_ms;
                if asked == 0 || is_over {
                    // Its turn comes: what waits there moves its clock.
                    partition.is_flowing |= !partition.is_at_end;
                    return false;
                }
                is_first = false;
                let read = log.read(place, asked, &mut |records| partition.observe(records));
                match read {
                    // An error may be told once, and nothing be read for as long as it lasts.
                    Ok(0) => false,
                    Ok(read) => {
                        partition.is_at_end = false;
                        partition.is_flowing = true;
                        left -= read.min(left);
                        round.count += read;
                        if said.settle(Some(place)) {
                            let (tenant, partition) = (&place.tenant, place.partition);
                            tracing::info!(%tenant, partition, "partition is read again");
                        }
                        read == asked && may_go_on(partition, settings, is_going)
                    }
                    Err(error) => {
                        round.failed.push((place.clone(), error));
                        false
                    }
                }
            });
        }
    }
    round
}

/// True for a partition that may observe more before the next commit.
fn may_go_on<S: Step>(partition: &Partition<S>, settings: &WorkerSettings, is_going: bool) -> bool {
    // A slow commit must not make the next one larger without end.
    let is_much = partition.step.change_count() >= settings.flush_changes_max;
    !(partition.is_full() || is_going && is_much)
}

#[cfg(test)]
mod tests;
