//! Both sides of a bucket, key by key: pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use schemas::ids::TenantId;

use super::entry::{Entry, Mark, NOWHERE};
use super::extent::Extents;
use super::report::{Example, ExpiredRange, ExtentReport, Fault, Place, TableReport, TenantReport};
use super::rows::Horizon;
use crate::clickhouse::table::Table;

/// How many faults of a table are told in detail.
const EXAMPLES_MAX: usize = 10;

/// What a table shows of an identity.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    /// The row that readers see.
    seen: Option<Entry>,
    /// How many of them.
    seen_count: u64,
    /// The latest row that took the identity back.
    taken_back: Option<Entry>,
}

/// Where a row stands to the part of the log that is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// Before the log's beginning.
    Before,
    /// In the part that is judged.
    Inside,
    /// After the ends, in the log.
    After,
    /// Nowhere in the tenant's log.
    Nowhere,
}

/// Gathers what the buckets say.
#[derive(Debug)]
pub struct Comparison<'a> {
    extents: &'a Extents,
    horizons: [Horizon; Table::ALL.len()],
    /// Where the partitions ended after the tables were read.
    newest: Vec<i64>,
    tables: Vec<TableReport>,
    expired: HashMap<(Table, u32), ExpiredRange>,
}

impl<'a> Comparison<'a> {
    /// Nothing compared yet.
    pub fn new(
        extents: &'a Extents,
        horizons: [Horizon; Table::ALL.len()],
        newest: Vec<i64>,
    ) -> Self {
        let report = |table: Table| TableReport::new(table.name(), horizons[table as usize].days);
        let tables = Table::ALL.map(report).to_vec();
        Self {
            extents,
            horizons,
            newest,
            tables,
            expired: HashMap::new(),
        }
    }

    /// Compares a bucket: all entries of some keys, of the log in its order and of the tables.
    pub fn bucket(&mut self, logged: Vec<Entry>, shown: Vec<Entry>) {
        let (mut expected, mut dated) = (HashMap::new(), HashMap::<u128, Vec<Entry>>::new());
        for entry in logged {
            match entry.mark {
                Mark::Disputed => dated.entry(entry.key).or_default().push(entry),
                Mark::Live | Mark::Deleted => cover(&mut expected, entry),
            }
        }
        let mut rows = HashMap::<u128, Shown>::new();
        for entry in shown {
            rows.entry(entry.key).or_default().add(entry);
        }
        for (key, expected) in expected {
            let shown = rows.remove(&key).unwrap_or_default();
            self.judge(expected, shown, dated.remove(&key).unwrap_or_default());
        }
        for (key, shown) in rows {
            self.judge_unexpected(shown, dated.remove(&key).unwrap_or_default());
        }
        for unused in dated.into_values() {
            self.table(unused[0].table).dated_count += 1;
        }
    }

    /// The report of all buckets.
    pub fn finish(mut self, tenant: &TenantId, refused_event_count: u64) -> TenantReport {
        let mut expired: Vec<_> = self.expired.drain().collect();
        expired.sort_by_key(|((table, place), _)| (*table, *place));
        for ((table, _), range) in expired {
            self.tables[table as usize].expired.push(range);
        }
        let extent = |extent: &super::extent::Extent| ExtentReport {
            topic: extent.origin.topic.to_string(),
            partition: extent.origin.partition,
            start: extent.start,
            end: extent.end,
        };
        TenantReport {
            tenant: tenant.to_string(),
            extents: self.extents.extents.iter().map(extent).collect(),
            refused_event_count,
            tables: self.tables,
        }
    }

    /// An identity of the log.
    fn judge(&mut self, expected: Entry, shown: Shown, dated: Vec<Entry>) {
        let table = expected.table;
        self.table(table).log_count += 1;
        self.table(table).row_count += shown.seen_count;
        if self.is_expired(&expected) {
            return self.expire(&expected);
        }
        if shown.seen_count > 1 {
            self.table(table).doubled_count += 1;
            return self.example(Fault::Doubled, Some(expected), shown.seen);
        }
        match (expected.mark, shown.seen) {
            (Mark::Deleted, None) => self.table(table).equal_count += 1,
            (_, Some(row)) => self.judge_row(expected, row, &dated),
            (_, None) => {
                let is_newer =
                    |row: Entry| row.version > expected.version && self.stand(&row) == Stand::After;
                match shown.taken_back.is_some_and(is_newer) {
                    true => self.table(table).newer_count += 1,
                    false => {
                        self.table(table).missing_count += 1;
                        self.example(Fault::Missing, Some(expected), None);
                    }
                }
            }
        }
    }

    /// An identity of the log, and the row that is shown for it.
    fn judge_row(&mut self, expected: Entry, row: Entry, dated: &[Entry]) {
        let stand = self.stand(&row);
        let is_covered = row.version > expected.version;
        let report = self.table(expected.table);
        if row.version == expected.version
            && row.content == expected.content
            && expected.mark == Mark::Live
        {
            report.equal_count += 1;
        } else if is_covered && stand == Stand::After {
            report.newer_count += 1;
        } else if is_covered && stand == Stand::Before {
            report.before_log_count += 1;
        } else if is_covered && is_among(&row, dated) {
            report.dated_count += 1;
        } else {
            report.different_count += 1;
            self.example(Fault::Different, Some(expected), Some(row));
        }
    }

    /// An identity that the log does not have.
    fn judge_unexpected(&mut self, shown: Shown, dated: Vec<Entry>) {
        // A window that was taken back and of which nothing else is left: readers see nothing.
        let Some(row) = shown.seen else { return };
        self.table(row.table).row_count += shown.seen_count;
        if shown.seen_count > 1 {
            self.table(row.table).doubled_count += 1;
            return self.example(Fault::Doubled, None, Some(row));
        }
        let stand = self.stand(&row);
        let report = self.table(row.table);
        if is_among(&row, &dated) {
            report.dated_count += 1;
        } else if stand == Stand::After {
            report.newer_count += 1;
        } else if stand == Stand::Before {
            report.before_log_count += 1;
        } else {
            report.extra_count += 1;
            self.example(Fault::Extra, None, Some(row));
        }
    }

    fn table(&mut self, table: Table) -> &mut TableReport {
        &mut self.tables[table as usize]
    }

    fn stand(&self, row: &Entry) -> Stand {
        let Some(extent) = self.extents.get(row.place) else {
            return Stand::Nowhere;
        };
        let newest = self
            .newest
            .get(row.place as usize)
            .copied()
            .unwrap_or(extent.end);
        match row.offset {
            ..0 => Stand::Nowhere,
            offset if offset < extent.start => Stand::Before,
            offset if offset < extent.end => Stand::Inside,
            offset if offset < newest => Stand::After,
            _ => Stand::Nowhere,
        }
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        entry.appended_at_ms < self.horizons[entry.table as usize].at_ms
    }

    fn expire(&mut self, entry: &Entry) {
        let place = place(self.extents, entry);
        let range = self
            .expired
            .entry((entry.table, entry.place))
            .or_insert(ExpiredRange {
                topic: place.topic,
                partition: place.partition,
                first_offset: entry.offset,
                last_offset: entry.offset,
                count: 0,
            });
        range.first_offset = range.first_offset.min(entry.offset);
        range.last_offset = range.last_offset.max(entry.offset);
        range.count += 1;
    }

    fn example(&mut self, fault: Fault, record: Option<Entry>, row: Option<Entry>) {
        let Some(table) = record.or(row).map(|entry| entry.table) else {
            return;
        };
        let place = |entry: Entry| place(self.extents, &entry);
        let (record, row) = (record.map(place), row.map(place));
        let examples = &mut self.table(table).examples;
        if examples.len() < EXAMPLES_MAX {
            examples.push(Example {
                fault,
                identity: String::new(),
                record,
                row,
            });
        }
    }
}

impl Shown {
    fn add(&mut self, entry: Entry) {
        if entry.mark == Mark::Deleted {
            let is_later = self
                .taken_back
                .is_none_or(|held| entry.version > held.version);
            self.taken_back = if is_later {
                Some(entry)
            } else {
                self.taken_back
            };
        } else {
            self.seen = Some(entry);
            self.seen_count += 1;
        }
    }
}

/// A row of a later position covers an earlier one only with a higher version.
fn cover(expected: &mut HashMap<u128, Entry>, entry: Entry) {
    match expected.entry(entry.key) {
        Slot::Vacant(slot) => {
            slot.insert(entry);
        }
        Slot::Occupied(mut slot) => {
            if entry.version > slot.get().version {
                slot.insert(entry);
            }
        }
    }
}

fn is_among(row: &Entry, dated: &[Entry]) -> bool {
    dated
        .iter()
        .any(|entry| entry.version == row.version && entry.content == row.content)
}

fn place(extents: &Extents, entry: &Entry) -> Place {
    debug_assert!(entry.place == NOWHERE || extents.get(entry.place).is_some());
    let origin = extents.get(entry.place).map(|extent| &extent.origin);
    Place {
        topic: origin.map_or(String::new(), |origin| origin.topic.to_string()),
        partition: origin.map_or(-1, |origin| origin.partition),
        offset: entry.offset,
    }
}

#[cfg(test)]
mod tests;
