//! The health check of the inserts: the worst of all that is under way, whoever spoke last.
//!
//! Rounds go out beside each other, and one that is through must not cover up one that is stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::clock;
use runtime::health::{Condition, Health};

use super::table::Table;

/// The check's name.
pub(super) const CHECK: &str = "inserts";

/// What the check says, by all senders. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct InsertCheck {
    health: Health,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// What is refused now, by round and table.
    refused: BTreeMap<(u64, Table), String>,
    /// Tables whose rows were too many for one insert, and have not gone as one since.
    cut: BTreeMap<Table, Cut>,
}

/// Rows that went in parts.
struct Cut {
    /// The latest round of which that is so.
    round: u64,
    until: Instant,
    reason: String,
}

/// How long that is said of a table that gets few rows, and none that show that it is over.
const CUT_SAID: Duration = Duration::from_secs(600);

impl InsertCheck {
    pub(super) fn new(health: &Health) -> Self {
        Self {
            health: health.clone(),
            known: Arc::default(),
        }
    }

    /// A round's rows are not let in now, and are sent again.
    pub(super) fn refused(&self, round: u64, table: Table, reason: String) {
        self.tell(|known| {
            known.refused.insert((round, table), reason);
        });
    }

    /// Rows are refused as one insert. The first reason stays for as long as that lasts: the
    /// server's words have other numbers in them each time.
    pub(super) fn too_many(&self, round: u64, table: Table, reason: String) {
        self.tell(|known| {
            let until = clock::monotonic() + CUT_SAID;
            let cut = known.cut.entry(table).or_insert(Cut {
                round,
                until,
                reason,
            });
            (cut.round, cut.until) = (cut.round.max(round), until);
        });
    }

    /// A part of a round's rows is in.
    pub(super) fn inserted_part(&self, round: u64, table: Table) {
        self.tell(|known| {
            known.refused.remove(&(round, table));
        });
    }

    /// A round's rows are in, as one insert.
    pub(super) fn inserted_whole(&self, round: u64, table: Table) {
        self.tell(|known| {
            known.refused.remove(&(round, table));
            // An earlier round may be through later, and says nothing of this one.
            known
                .cut
                .retain(|of, cut| *of != table || cut.round >= round);
        });
    }

    fn tell(&self, change: impl FnOnce(&mut Known)) {
        // A map is never half changed: poisoning cannot have left it wrong. Held while the check is
        // set, so that the last word is the newest.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let now = clock::monotonic();
        known.cut.retain(|_, cut| cut.until > now);
        self.health.set(CHECK, known.condition());
    }
}

impl Known {
    fn condition(&self) -> Condition {
        let oldest = self.refused.values().next();
        let first = self.cut.values().next();
        match (oldest, first) {
            (Some(reason), _) => Condition::NotReady(reason.clone()),
            (None, Some(cut)) => Condition::Warning(cut.reason.clone()),
            (None, None) => Condition::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_ready(reason: &str) -> Condition {
        Condition::NotReady(reason.into())
    }

    fn warning(reason: &str) -> Condition {
        Condition::Warning(reason.into())
    }

    #[test]
    fn a_round_that_is_through_covers_up_nothing() {
        let health = Health::default();
        let check = InsertCheck::new(&health);
        let says = || health.report().checks[CHECK].condition.clone();
        check.refused(1, Table::Events, "first".into());
        check.refused(2, Table::Events, "second".into());
        check.too_many(2, Table::Metrics, "too many".into());
        assert_eq!(says(), not_ready("first"));
        check.inserted_whole(2, Table::Events);
        assert_eq!(says(), not_ready("first"));
        check.inserted_part(1, Table::Events);
        assert_eq!(says(), warning("too many"));
        check.inserted_whole(1, Table::Metrics);
        assert_eq!(says(), warning("too many"), "of a round before it");
        check.too_many(3, Table::Metrics, "too many again".into());
        check.inserted_part(3, Table::Metrics);
        assert_eq!(says(), warning("too many"), "it still goes in parts");
        check.inserted_whole(4, Table::Events);
        assert_eq!(says(), warning("too many"), "another table's");
        check.inserted_whole(4, Table::Metrics);
        assert_eq!(says(), Condition::Ready);
    }
}
