//! The store beside the topic: taken over once, and compared ever after.

use std::collections::BTreeMap;

use runtime::control::Published;
use schemas::control::{ControlKey, Definition, Kind};
use schemas::ids::TenantId;

use super::outbox;
use super::{Change, Row, StoreError};

/// What the topic holds.
pub(super) type Topic = BTreeMap<ControlKey, Published>;

/// Something that the topic holds otherwise than the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Difference {
    /// What.
    pub(super) key: ControlKey,
    /// The topic's version.
    topic_version: i64,
    /// What the store says; absent where it knows of nothing.
    body: Option<String>,
}

impl Difference {
    /// True when a tenant comes to be that the topic does not have.
    pub(super) fn makes_tenant(&self, topic: &Topic) -> bool {
        let is_there = topic.get(&self.key).is_some_and(|held| held.body.is_some());
        self.key.kind == Kind::Tenant && self.body.is_some() && !is_there
    }

    /// Where it stands among others: tenants go first and come last, so that whoever sees one
    /// finds all that is its own.
    fn turn(&self) -> u8 {
        match (self.key.kind, &self.body) {
            (Kind::Tenant, None) => 0,
            (_, None) => 1,
            (Kind::Tenant, Some(_)) => 3,
            (_, Some(_)) => 2,
        }
    }
}

/// What a comparison found.
pub(super) struct Findings {
    /// What the topic is to be told again, in order.
    pub(super) differences: Vec<Difference>,
    /// Keys under which the topic has a higher version than the store, or one where the store knows
    /// of none: from old stores, and from deletions before it.
    behind: Vec<ControlKey>,
}

/// Writes what the topic holds into a store that is new.
pub(super) fn take_over(change: &mut Change<'_>, topic: &Topic) -> Result<(), StoreError> {
    for (key, held) in topic {
        change.save(&as_row(key, held))?;
    }
    outbox::note_taken_over(change.sql(), change.now_us())
}

/// What the topic holds otherwise. Definitions that went into the outbox behind `drained` are left
/// alone: the topic was read before they came there.
pub(super) fn look(
    change: &Change<'_>,
    topic: &Topic,
    drained: i64,
) -> Result<Findings, StoreError> {
    let rows = change.every_row()?;
    let versions: BTreeMap<_, _> = rows.iter().map(|row| (&row.key, row.version)).collect();
    let version = |key| versions.get(key).copied().unwrap_or(0);
    let behind = topic
        .iter()
        .filter(|(key, held)| version(*key) < held.version);
    let behind = behind.map(|(key, _)| key.clone()).collect();
    let unknown = topic.iter().filter(|(key, _)| version(*key) == 0);
    let mut differences: Vec<_> = unknown
        .filter(|(_, held)| held.body.is_some())
        .map(|(key, held)| Difference {
            key: key.clone(),
            topic_version: held.version,
            body: None,
        })
        .collect();
    for row in rows.iter().filter(|row| row.outbox_number <= drained) {
        let held = topic.get(&row.key);
        let is_same = match (
            row.body.as_deref(),
            held.and_then(|held| held.body.as_deref()),
        ) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => is_same(row.key.kind, ours, theirs),
            _ => false,
        };
        if !is_same {
            differences.push(Difference {
                key: row.key.clone(),
                topic_version: held.map_or(0, |held| held.version),
                body: row.body.clone(),
            });
        }
    }
    differences.sort_by_key(Difference::turn);
    Ok(Findings {
        differences,
        behind,
    })
}

/// Puts into the outbox what mends the differences, and takes the topic's versions over where they
/// are higher. What was changed since `drained` is left alone. Gives how many there were.
pub(super) fn mend(
    change: &mut Change<'_>,
    topic: &Topic,
    findings: &Findings,
    drained: i64,
) -> Result<usize, StoreError> {
    let mut count = 0;
    for difference in &findings.differences {
        let key = &difference.key;
        let held = change.row(key)?;
        if held.is_some_and(|row| row.outbox_number > drained) {
            continue;
        }
        tracing::warn!(%key, "the topic held it otherwise than the store: published again");
        change.write(key, difference.topic_version, difference.body.clone())?;
        count += 1;
    }
    for key in &findings.behind {
        let held = &topic[key];
        match change.row(key)? {
            Some(row) if row.version >= held.version => {}
            Some(row) => change.save(&Row {
                version: held.version,
                ..row
            })?,
            // Deleted, and from before the store: only that it was there is worth keeping.
            None => change.save(&as_row(key, held))?,
        }
    }
    Ok(count)
}

/// The tenants that the topic does not have and shall have.
pub(super) fn tenants_to_be(differences: &[Difference], topic: &Topic) -> Vec<TenantId> {
    let made = differences
        .iter()
        .filter(|difference| difference.makes_tenant(topic));
    made.map(|difference| difference.key.tenant.clone())
        .collect()
}

fn as_row(key: &ControlKey, held: &Published) -> Row {
    Row {
        key: key.clone(),
        version: held.version,
        created_at_us: held.changed_at.as_us(),
        changed_at_us: held.changed_at.as_us(),
        body: held.body.clone(),
        outbox_number: 0,
    }
}

/// Texts may differ where what they say does not: a later release writes a field that an earlier
/// one left out.
fn is_same(kind: Kind, ours: &str, theirs: &str) -> bool {
    let says = |body| Definition::read(kind, body).ok();
    ours == theirs || says(ours).is_some_and(|ours| says(theirs) == Some(ours))
}
